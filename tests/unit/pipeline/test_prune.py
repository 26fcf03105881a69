"""The whole job on a problem that is learnt in a second."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import prunella
from prunella.core.errors import BudgetError, DataError, GraphError, InputError
from prunella.pipeline.reporting import RunFacts, build_report

RECIPE = prunella.Recipe(epochs=2, learning_rate=0.02)
CLASSES = 4


def network():
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.Conv2d(12, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(64, CLASSES),
    )


def samples(count, seed):
    """Noisy images with a bright corner; the corner is the label."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, CLASSES, (count,), generator=generator)
    images = 0.7 * torch.randn(count, 1, 6, 6, generator=generator)
    for image, label in zip(images, labels, strict=True):
        row, column = divmod(int(label), 2)
        image[0, 3 * row : 3 * row + 3, 3 * column : 3 * column + 3] += 1
    return TensorDataset(images, labels)


def loader(dataset, *, shuffle=False):
    return DataLoader(dataset, batch_size=32, shuffle=shuffle)


@pytest.fixture(scope="module")
def trained():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = network()
    prunella.fit(
        model, loader(samples(256, 0)), prunella.Recipe(epochs=6, learning_rate=0.1), seed=0
    )
    return model.eval()


@pytest.fixture(scope="module")
def sets():
    return {"calibration": samples(160, 0), "certification": samples(400, 1)}


@pytest.fixture(scope="module")
def result(trained, sets):
    return prunella.prune(
        trained,
        loader(sets["calibration"]),
        budget=prunella.Params(0.4),
        certification=loader(sets["certification"]),
        recipe=RECIPE,
        latency_batches=(2,),
        robustness_samples=150,
        seed=3,
    )


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def test_result_has_what_scripts_rely_on(result, trained, sets, tmp_path):
    before, after = result.cost
    example = torch.zeros(1, 1, 6, 6)
    assert before == result.plan.original == prunella.cost(trained, example)
    assert after == result.plan.achieved == prunella.cost(result.model, example)
    assert after.params <= 0.4 * before.params
    assert result.plan.requested == prunella.Params(0.4)
    assert (result.plan.method, result.plan.seed) == ("pfp", 3)
    assert set(result.scores) == set(result.plan.kept) == {"0", "3"}
    assert result.difference < 1e-4
    assert [record.epoch for record in result.training] == [1, 2]
    assert [entry.batch for entry in result.latency] == [2]
    expected = prunella.robustness(
        trained, result.model, loader(sets["certification"]), samples=150
    )
    assert result.robustness == expected
    assert expected.samples == 150

    accuracy = result.accuracy
    assert accuracy.samples == 400
    for model, found in ((trained, accuracy.original), (result.model, accuracy.after_retrain)):
        assert prunella.accuracy(model, loader(sets["certification"])) == (found, 400)
    assert accuracy.original > 0.9
    assert accuracy.after_retrain > accuracy.original - 0.1
    assert accuracy.after_repair >= accuracy.after_cut - 0.05

    path = result.report(tmp_path / "report.html")
    assert path == tmp_path / "report.html"
    page = path.read_text(encoding="utf-8")
    assert "<html" in page
    assert "On corrupted images" in page
    assert '<th scope="row">low contrast</th>' in page


def test_certificate_is_about_these_two_networks(result, trained, sets):
    certificate = result.certificate
    assert (certificate.alpha, certificate.delta, certificate.n) == (0.05, 0.01, 400)
    with torch.no_grad():
        x = sets["certification"].tensors[0]
        different = trained(x).argmax(1) != result.model.eval()(x).argmax(1)
    assert certificate.disagreement == float(different.float().mean())
    assert certificate.disagreement < certificate.disagreement_upper < 1
    drop = result.accuracy.original - result.accuracy.after_retrain
    assert certificate.accuracy_drop == pytest.approx(drop, abs=1e-9)
    assert certificate.accuracy_drop < certificate.accuracy_drop_upper


def test_result_can_be_saved_and_loaded(result, tmp_path):
    prunella.save(tmp_path / "small.safetensors", result.model, result.plan)
    loaded = prunella.load(tmp_path / "small.safetensors", network())
    assert same(state(result.model), state(loaded))


def test_original_is_untouched(sets):
    model = network()
    model.train()
    model[4].eval()
    before, flags = state(model), [m.training for m in model.modules()]
    result = prunella.prune(
        model,
        loader(sets["calibration"]),
        budget=prunella.Flops(0.6),
        certification=loader(sets["certification"]),
        recipe=RECIPE,
    )
    assert same(before, state(model))
    assert [m.training for m in model.modules()] == flags
    assert all(p.grad is None for p in model.parameters())
    assert result.model is not model
    assert result.cost[1].macs <= 0.6 * result.cost[0].macs


@pytest.mark.parametrize("method", ["pfp", "random"])
def test_same_seed_same_network(trained, sets, method):
    results = []
    for noise, seed in ((1, 4), (2, 4), (3, 5)):
        torch.manual_seed(noise)
        results.append(
            prunella.prune(
                trained,
                loader(sets["calibration"], shuffle=True),
                budget=prunella.Params(0.5),
                recipe=RECIPE,
                method=method,
                seed=seed,
            )
        )
    first, again, other = results
    assert first.training == again.training
    assert same(state(first.model), state(again.model))
    assert all(torch.equal(first.plan.kept[n], again.plan.kept[n]) for n in first.plan.kept)
    assert other.training != first.training


def test_without_certification_there_is_no_certificate(trained, sets):
    result = prunella.prune(
        trained, loader(sets["calibration"]), budget=prunella.Params(0.5), recipe=RECIPE
    )
    assert result.certificate is None
    assert (result.accuracy.original, result.accuracy.after_retrain) == (None, None)
    assert (result.accuracy.samples, result.latency) == (0, ())
    assert result.cost[1].params <= 0.5 * result.cost[0].params


def test_evaluation_samples_need_not_be_certified(trained, sets):
    result = prunella.prune(
        trained,
        loader(sets["calibration"]),
        budget=prunella.Params(0.5),
        evaluation=loader(sets["calibration"]),
        recipe=RECIPE,
    )
    assert result.certificate is None
    assert result.accuracy.samples == 160
    assert result.accuracy.original == prunella.accuracy(trained, loader(sets["calibration"]))[0]


def test_no_retraining(trained, sets):
    result = prunella.prune(
        trained,
        loader(sets["calibration"]),
        budget=prunella.Params(0.5),
        certification=loader(sets["certification"]),
        recipe=prunella.Recipe(epochs=0),
    )
    assert result.training == ()
    assert result.accuracy.after_retrain is None
    assert result.accuracy.after_repair is not None
    found = prunella.accuracy(result.model, loader(sets["certification"]))[0]
    assert found == result.accuracy.after_repair


@pytest.mark.parametrize("method", ["taylor", "bn-scale", "pfp-random"])
def test_each_method_scores_in_its_own_way(trained, sets, method):
    result = prunella.prune(
        trained,
        loader(sets["calibration"]),
        budget=prunella.Params(0.5),
        evaluation=loader(sets["certification"]),
        recipe=RECIPE,
        method=method,
        seed=1,
    )
    assert result.scores.method == ("pfp" if method == "pfp-random" else method)
    assert result.plan.method == method
    assert result.cost[1].params <= 0.5 * result.cost[0].params
    assert result.accuracy.after_retrain > result.accuracy.original - 0.1
    assert bool(result.plan.scales) == (method == "pfp-random")
    notes = build_report(result, RunFacts()).notes
    assert any("were scaled by" in note for note in notes) == (method == "pfp-random")


@pytest.mark.parametrize("method", ["filter-norm", "taylor", "random"])
def test_calibration_samples_are_remembered_whatever_the_method(trained, sets, method):
    """They repair the network even where they did not score it."""
    arguments = {"budget": prunella.Params(0.5), "recipe": RECIPE, "method": method}
    calibration = loader(sets["calibration"])
    result = prunella.prune(trained, calibration, **arguments)
    assert result.plan.samples.count == 160
    with pytest.raises(DataError, match="160 of 160 certification samples are also used for"):
        prunella.prune(trained, calibration, certification=calibration, **arguments)
    with pytest.raises(DataError):
        prunella.certify(trained, result.model, calibration, used=(result.plan.samples,))


def test_random_needs_no_scores_and_remembers_its_samples(trained, sets):
    arguments = {"budget": prunella.Params(0.5), "recipe": RECIPE, "method": "random", "seed": 2}
    result = prunella.prune(trained, loader(sets["calibration"]), **arguments)
    assert result.scores is None
    assert result.plan.method == "random"
    # The calibration samples repaired it, so they must not certify it.
    with pytest.raises(DataError, match="160 of 160 certification samples are also used for"):
        prunella.prune(
            trained,
            loader(sets["calibration"]),
            certification=loader(sets["calibration"]),
            **arguments,
        )


@pytest.mark.parametrize("where", ["calibration", "retraining"])
def test_overlap_is_refused_before_the_cut(trained, sets, where):
    leaked = TensorDataset(*(t[:7] for t in sets["certification"].tensors))
    given = {
        "calibration": sets["calibration"],
        "retraining": samples(64, 9),
        "certification": sets["certification"],
    }
    given[where] = torch.utils.data.ConcatDataset([given[where], leaked])
    stages = []
    with pytest.raises(DataError, match="7 of 400 certification samples are also used for"):
        prunella.prune(
            trained,
            loader(given["calibration"]),
            budget=prunella.Params(0.5),
            retraining=loader(given["retraining"]),
            certification=loader(given["certification"]),
            recipe=RECIPE,
            on_stage=stages.append,
        )
    assert stages
    assert not any("cut" in stage or "retrain" in stage for stage in stages)


def test_stages_are_told_in_order(trained, sets):
    stages = []
    prunella.prune(
        trained,
        loader(sets["calibration"]),
        budget=prunella.Params(0.5),
        certification=loader(sets["certification"]),
        recipe=RECIPE,
        on_stage=stages.append,
    )
    order = [
        next(i for i, stage in enumerate(stages) if word in stage)
        for word in ("tracing", "scoring", "cutting", "repair", "retraining", "certifying")
    ]
    assert order == sorted(order)


class Interrupted:
    """Keeps stages in memory, and stops after a given number of epochs."""

    def __init__(self, epochs):
        self.epochs, self.scores, self.checkpoint, self.saved = epochs, None, None, []

    def scoring(self):
        return None

    def save_scores(self, scores):
        self.scores = scores

    def load_scores(self):
        return self.scores

    def save_training(self, checkpoint):
        self.checkpoint = checkpoint
        self.saved.append(checkpoint.epoch)
        if checkpoint.epoch == self.epochs:
            raise KeyboardInterrupt

    def load_training(self):
        return self.checkpoint


def test_interrupted_run_goes_on_to_the_same_network(trained, sets):
    def run(stages):
        return prunella.prune(
            trained,
            loader(sets["calibration"], shuffle=True),
            budget=prunella.Params(0.5),
            recipe=RECIPE,
            stages=stages,
            seed=6,
        )

    whole = run(None)
    stages = Interrupted(epochs=1)
    with pytest.raises(KeyboardInterrupt):
        run(stages)
    assert stages.checkpoint.epoch == 1
    stages.epochs = None
    again = run(stages)
    assert stages.saved == [1, 2]  # no epoch was run twice
    assert again.training == whole.training
    assert same(state(again.model), state(whole.model))


def test_mistakes_are_told_before_any_work(trained, sets):
    calibration = loader(sets["calibration"])
    budget = prunella.Params(0.5)
    for arguments, error, message in (
        ({"budget": 0.5}, InputError, r"expected for instance Params\(0.4\)"),
        ({"budget": budget, "method": "magic"}, InputError, "unknown method 'magic'"),
        ({"budget": prunella.Params(1e-4)}, BudgetError, "smallest reachable is"),
    ):
        stages = []
        with pytest.raises(error, match=message):
            prunella.prune(trained, calibration, on_stage=stages.append, **arguments)
        assert not any("cutting" in stage for stage in stages)
    with pytest.raises(DataError, match="calibration loader is empty"):
        prunella.prune(trained, [], budget=budget)
    with pytest.raises(GraphError, match="no group of channels that could be removed"):
        prunella.prune(nn.Sequential(nn.Flatten(), nn.Linear(36, 4)), calibration, budget=budget)
    broken = network()
    broken[0].weight.data[0] = float("nan")
    with pytest.raises(InputError, match=r"'0.weight' holds 9 NaN or infinite values"):
        prunella.prune(broken, calibration, budget=budget)


def test_calibration_without_labels(trained, sets):
    images = sets["calibration"].tensors[0]
    result = prunella.prune(
        trained, list(images.split(40)), budget=prunella.Params(0.5), recipe=RECIPE
    )
    assert len(result.training) == 2
    assert all(
        a.loss != b.loss for a, b in itertools.pairwise(result.training)
    )  # something was learnt


class DividedByWidth(nn.Module):
    """Runs at any width of `a`, but computes something else: only the comparison can find it."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(1, 8, 3, padding=1)
        self.b = nn.Conv2d(8, 12, 3, padding=1)
        self.head = nn.Linear(12, CLASSES)

    def forward(self, x):
        y = self.a(x).relu()
        y = self.b(y / y.shape[1]).relu()
        return self.head(y.mean((2, 3)))


def test_a_group_whose_cut_is_not_faithful_stays_whole(sets):
    torch.manual_seed(0)
    model = DividedByWidth().eval()
    graph = prunella.trace(model, torch.randn(1, 1, 6, 6))
    assert [group.name for group in graph.prunable] == ["a", "b"]  # the trial sees shapes only
    with pytest.raises(prunella.SurgeryError, match="group 'a' differs by itself") as caught:
        prunella.Plan.from_kept(graph, {"a": [0, 1], "b": [0, 1]}).apply(model)
    assert caught.value.group == "a"
    found = prunella.prune(
        model,
        loader(sets["calibration"]),
        budget=prunella.Params(0.3),
        recipe=prunella.Recipe(epochs=0),
        seed=0,
    )
    assert "does not compute what the masked original" in found.plan.graph.group("a").reason
    assert found.model.a.out_channels == 8
    assert found.model.b.out_channels < 12
    assert found.plan.achieved.params <= 0.3 * found.plan.original.params
    assert found.difference <= 1e-4


# -- what else the certificate bounds ------------------------------------------------------------


def test_bounds_that_were_asked_for(trained, sets):
    result = prunella.prune(
        trained,
        loader(sets["calibration"]),
        budget=prunella.Params(0.5),
        certification=loader(sets["certification"]),
        recipe=RECIPE,
        per_class=True,
        per_layer=True,
        top_k=2,
    )
    expected = prunella.certify(
        trained,
        result.model,
        loader(sets["certification"]),
        per_class=True,
        layers=result.plan,
        top_k=2,
    )
    found = result.certificate
    assert found.classes == expected.classes
    assert found.layers == expected.layers
    assert found.top_k == expected.top_k
    assert found.classes
    assert found.layers


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"per_class": True}, "per_class asks for bounds of the certificate, but there are no"),
        ({"per_layer": True, "top_k": 2}, "per_layer and top_k asks for bounds"),
    ],
)
def test_bounds_without_certification_samples(trained, sets, asked, message):
    with pytest.raises(InputError, match=message):
        prunella.prune(trained, loader(sets["calibration"]), budget=prunella.Params(0.5), **asked)


@pytest.mark.parametrize(
    ("top_k", "message"), [(0, "top_k is 0"), (50, "top_k is 50, but the networks return")]
)
def test_top_k_is_checked_before_any_work(trained, sets, top_k, message):
    stages = []
    with pytest.raises(InputError, match=message):
        prunella.prune(
            trained,
            loader(sets["calibration"]),
            budget=prunella.Params(0.5),
            certification=loader(sets["certification"]),
            top_k=top_k,
            on_stage=stages.append,
        )
    assert stages == []
