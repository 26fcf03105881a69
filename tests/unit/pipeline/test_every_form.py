"""Batches and outputs of every form give what plain tensors give, in every stage."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import prunella
from prunella.core.errors import DataError, InputError
from prunella.core.samples import SampleIds
from prunella.repair import reconstruct

CLASSES = 3


@dataclass
class Answer:
    """Like the outputs of Hugging Face's models, but no mapping."""

    logits: Tensor
    hidden: Tensor


OUTPUTS = {
    "tensor": lambda logits, hidden: logits,
    "dictionary": lambda logits, hidden: {"hidden": hidden, "logits": logits},
    "tuple": lambda logits, hidden: (logits, hidden),
    "object": Answer,
}
# From two inputs and labels to a batch.
FORMS = {
    "tuple and labels": lambda a, b, y: ((a, b), y),
    "list and labels": lambda a, b, y: [[a, b], y],
    "dictionary and labels": lambda a, b, y: ({"second": b, "first": a}, y),
    "labels inside": lambda a, b, y: {"first": a, "labels": y, "second": b},
    "label inside": lambda a, b, y: {"label": y.int(), "first": a, "second": b},
}


class Two(nn.Module):
    """Two inputs; takes no labels."""

    def __init__(self, outputs="tensor"):
        super().__init__()
        self.outputs = outputs
        self.left, self.right = nn.Linear(4, 24), nn.Linear(5, 24)
        self.norm, self.middle = nn.BatchNorm1d(24), nn.Linear(24, 16)
        self.last = nn.Linear(16, CLASSES)

    def forward(self, first, second):
        x = self.norm(self.left(first) + self.right(second)).relu()
        hidden = self.middle(x).relu()
        return OUTPUTS[self.outputs](self.last(hidden), first)


class Joined(Two):
    """The same as a network of one tensor that returns one."""

    def forward(self, x):
        return super().forward(*x.split((4, 5), dim=1))


def batches(form, count=96, seed=0):
    """The same samples in batches of 32; with the form None for `Joined`."""
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(count, 4, generator=generator), torch.randn(count, 5, generator=generator)
    y = (a[:, 0] > 0).long() + (b[:, 0] > 0).long()
    make = FORMS.get(form, lambda a, b, y: (torch.cat([a, b], 1), y))
    return [make(*(t[i : i + 32] for t in (a, b, y))) for i in range(0, count, 32)]


@pytest.fixture(scope="module")
def state():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Joined()
    recipe = prunella.Recipe(epochs=12, learning_rate=0.1)
    prunella.fit(model, batches(None, 640, seed=3), recipe, seed=0)
    return model.state_dict()


def loaded(model, state):
    model.load_state_dict(state)
    return model


def same(first, second):
    a, b = first.state_dict(), second.state_dict()
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


def pruned(model, form):
    return prunella.prune(
        model,
        batches(form),
        budget=prunella.Params(0.6),
        certification=batches(form, 160, seed=1),
        retraining=batches(form, 128, seed=2),
        recipe=prunella.Recipe(epochs=2, learning_rate=0.02),
        latency_batches=(3,),
        robustness_samples=50,  # there are no images, so nothing is measured
    )


@pytest.fixture(scope="module")
def expected(state):
    return pruned(loaded(Joined(), state), None)


@pytest.mark.parametrize(
    ("form", "outputs"),
    [*((form, "tensor") for form in FORMS), *(("labels inside", o) for o in OUTPUTS)],
)
def test_the_whole_job(form, outputs, state, expected):
    result = pruned(loaded(Two(outputs), state), form)
    assert same(result.model, expected.model)
    assert result.accuracy == expected.accuracy
    assert result.accuracy.original > 0.8
    assert result.training == expected.training
    assert result.robustness is None
    assert [entry.batch for entry in result.latency] == [3]
    for name in ("n", "disagreement_upper", "accuracy_drop_upper", "logit_error_bound"):
        assert getattr(result.certificate, name) == getattr(expected.certificate, name)
    first = batches(form)[0]
    assert result.plan.samples.count == 96
    found = prunella.sensitivities(Two(outputs), result.plan.graph, [first]).samples
    assert found.overlap(result.plan.samples) == 32


@pytest.mark.parametrize("form", FORMS)
def test_training_on_labels(form):
    torch.manual_seed(1)
    model, other = Two("dictionary"), Joined()
    other.load_state_dict(model.state_dict())
    recipe = prunella.Recipe(epochs=3, learning_rate=0.1)
    records = prunella.fit(model, batches(form), recipe, seed=0)
    assert records == prunella.fit(other, batches(None), recipe, seed=0)
    assert same(model, other)
    assert prunella.accuracy(model, batches(form)) == prunella.accuracy(other, batches(None))


def test_batch_norm_of_dictionaries(state):
    model, other = loaded(Two(), state), loaded(Joined(), state)
    # One sample has no variance, and joins the batch after it.
    for network, form in ((model, "labels inside"), (other, None)):
        whole = batches(form, 33)
        prunella.reestimate_batchnorm(network, [whole[1], whole[0]])
    assert same(model, other)
    assert not torch.equal(model.norm.running_mean, state["norm.running_mean"])


def test_batch_norm_where_no_batch_of_its_form_follows_one_sample():
    model = nn.BatchNorm1d(2, momentum=None)
    long, alone = torch.randn(4, 2, 3), torch.randn(1, 2, 5)
    prunella.reestimate_batchnorm(model, [alone, long])
    assert torch.allclose(model.running_mean, long.mean((0, 2)), atol=1e-6)


@pytest.mark.parametrize("form", ["tuple", "dictionary"])
def test_least_squares_of_several_inputs(form, state):
    model, other = loaded(Two("object"), state), loaded(Joined(), state)
    a, b = torch.randn(64, 4), torch.randn(64, 5)
    inputs = (a, b) if form == "tuple" else {"first": a, "second": b}
    results = []
    for network, given in ((model, inputs), (other, torch.cat([a, b], 1))):
        example = (a[:1], b[:1]) if network is model else given[:1]
        graph = prunella.trace(network, example)
        plan = prunella.Plan.from_kept(graph, {"left": range(12), "middle": range(9)})
        small = plan.apply(network)
        generator = torch.Generator().manual_seed(0)
        done = reconstruct(network, small, graph, plan.kept, given, generator=generator)
        assert set(done) == {"middle.weight", "last.weight"}
        results.append(small)
    assert same(*results)


@pytest.mark.parametrize("sample", [(torch.zeros(1, 4), torch.zeros(2, 5)), {"first": 1}])
def test_run_times_of_several_inputs(sample, state):
    model = loaded(Two(), state)
    if isinstance(sample, dict):
        sample = {"first": torch.zeros(1, 4), "second": torch.zeros(1, 5)}
    seen = []

    class Notes(Two):
        def forward(self, first, second):
            seen.append((tuple(first.shape), tuple(second.shape)))
            return super().forward(first, second)

    found = prunella.compare_latency(model, Notes(), sample, batches=(7,), runs=2, warmup=1)
    assert [entry.batch for entry in found] == [7]
    assert seen == [((7, 4), (7, 5))] * 3
    with pytest.raises(InputError, match=r"run times on has tensors of shapes \(\); expected"):
        prunella.compare_latency(model, model, torch.tensor(1.0))


def test_the_same_samples_are_found_whatever_their_order_in_the_dictionary(state):
    model = loaded(Two(), state)
    swapped = [
        {"second": batch["second"], "first": batch["first"]} for batch in batches("labels inside")
    ]
    with pytest.raises(DataError, match="96 of 96 certification samples are also used"):
        prunella.prune(
            model,
            batches("dictionary and labels"),
            budget=prunella.Params(0.6),
            certification=swapped,
        )
    graph = prunella.trace(model, (torch.zeros(1, 4), torch.zeros(1, 5)))
    used = prunella.sensitivities(model, graph, swapped).samples
    assert isinstance(used, SampleIds)
    with pytest.raises(DataError, match="96 of the 96 certification samples were already used"):
        prunella.certify(model, model, batches("label inside"), used=(used,))


def test_certification_samples_without_labels(state):
    unlabelled = [batch[0] for batch in batches("dictionary and labels", 160, seed=1)]
    result = prunella.prune(
        loaded(Two(), state),
        batches("labels inside"),
        budget=prunella.Params(0.6),
        certification=unlabelled,
        recipe=prunella.Recipe(epochs=0),
    )
    assert result.certificate.n == 160
    assert result.certificate.accuracy_drop_upper is None
    assert result.certificate.disagreement_upper < 1
    assert (result.accuracy.original, result.accuracy.samples) == (None, 0)


# -- what does not fit ---------------------------------------------------------------------------


def flat(seed=0):
    a, b, y = torch.randn(8, 4), torch.randn(8, 5), torch.zeros(8, dtype=torch.long)
    return DataLoader(TensorDataset(a, b, y), batch_size=4)


def refused(model, error, words, **changed):
    """`prune` says so before anything is traced."""
    stages = []
    given = {"calibration": batches("labels inside"), "budget": prunella.Params(0.6)} | changed
    with pytest.raises(error, match=words):
        prunella.prune(model, on_stage=stages.append, **given)
    assert stages == []


@pytest.mark.parametrize("loader", ["calibration", "retraining", "evaluation", "certification"])
def test_inputs_that_do_not_fit_the_model(loader):
    words = (
        rf"Two cannot be run on the first {loader} sample, called with \(float32 \(1, 4\)\) "
        r"\(TypeError: .*missing 1 .*'second'\)\. .* \(\(first, second\), labels\)"
    )
    refused(Two(), InputError, words, **{loader: flat()})
    wrong = [{"first": torch.zeros(2, 4), "third": torch.zeros(2, 5)}]
    words = (
        rf"first {loader} sample, called with \(first=float32 \(1, 4\), third=float32 \(1, 5\)\)"
    )
    refused(Two(), InputError, words, **{loader: wrong})


def test_loaders_that_are_none():
    batch = batches("labels inside")[0]
    words = "calibration is a dict, which is one batch; give a DataLoader or a list of batches"
    refused(Two(), DataError, words, calibration=batch)
    refused(Two(), DataError, "retraining is a Tensor, which is", retraining=batch["first"])
    refused(Two(), DataError, "calibration is an iterator", calibration=iter([batch]))
    refused(Two(), DataError, "the evaluation loader is empty", evaluation=[])
    refused(Two(), DataError, "the loader yields str; expected a tensor", certification=["text"])


class Returns(Two):
    """Something else."""

    def __init__(self, outputs):
        super().__init__()
        self.made = outputs

    def forward(self, first, second):
        return self.made(super().forward(first, second))


def test_outputs_that_are_no_logits():
    none = Returns(lambda x: {"hidden": x, "pooled": x})
    words = "Returns returns dict with hidden, pooled; expected logits: a tensor, an object"
    refused(none, InputError, words)
    sequence = Returns(lambda x: x[:, None])
    words = r"returns logits of shape \(1, 1, 3\) for 1 samples; expected \(1, classes\)"
    for loader in ("certification", "evaluation"):
        refused(sequence, InputError, words, **{loader: batches("labels inside")})
    with pytest.raises(InputError, match=r"returns logits of shape \(32, 1, 3\) for 32 samples"):
        prunella.accuracy(sequence, batches("labels inside"))
    recipe = prunella.Recipe(epochs=1, learning_rate=0.1)
    with pytest.raises(InputError, match=r"returns logits of shape \(32, 1, 3\) for 32 samples"):
        prunella.fit(sequence, batches("labels inside"), recipe, seed=0)
    with pytest.raises(InputError, match="the teacher returns dict with hidden, pooled"):
        prunella.fit(Two(), batches("labels inside"), recipe, seed=0, teacher=none)


def test_logits_of_another_shape_can_be_pruned_without_accuracy_and_certificate(state):
    """As those of language models, with labels for every token, which are not used."""
    model = Returns(lambda x: x[:, None].expand(-1, 2, -1))
    model.load_state_dict(state)
    tokens = [{**b, "labels": torch.zeros(32, 2)} for b in batches("labels inside")]
    result = prunella.prune(
        model,
        tokens,
        budget=prunella.Params(0.6),
        recipe=prunella.Recipe(epochs=3, learning_rate=0.002),
    )
    assert result.cost[1].params <= 0.6 * result.cost[0].params
    assert result.training[-1].loss < result.training[0].loss
    assert result.training[0].accuracy != result.training[0].accuracy  # not a number
    assert result.accuracy.original is None


def test_images_are_moved_only_where_there_are_images():
    recipe = prunella.Recipe(epochs=1, learning_rate=0.1, flip=True)
    words = r"mirrors images, but .* of shapes \(32, 4\), \(32, 5\); expected one tensor \(N, C"
    with pytest.raises(InputError, match=words):
        prunella.fit(Two(), batches("labels inside"), recipe, seed=0)


def test_looking_at_the_first_sample_draws_nothing():
    data = TensorDataset(torch.randn(8, 4))
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    generator = torch.Generator().manual_seed(5)
    loader = DataLoader(data, batch_size=4, shuffle=True, generator=generator)
    before = generator.get_state()
    prunella.pipeline.samples.first_sample(loader)
    prunella.pipeline.samples.check_loaders(model, of_classes=(), calibration=loader)
    assert torch.equal(before, generator.get_state())
