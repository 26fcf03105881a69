"""A-priori bounds of a plan: the constant by an oracle, what is refused, and the words."""

from __future__ import annotations

import copy
import dataclasses
import math
import weakref

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import prunella
from prunella.core.errors import DataError, InputError
from prunella.core.types import ChannelScores
from prunella.guarantee.results import percent, rounded_up
from prunella.sampling import epsilon
from small_models import Net


def largest_shares(a, weight):
    """g_j of each sample in float64: a (N, C, k) positions by unit, weight (O, C, k)."""
    products = weight.double()[None] * a.double()[:, None]  # (N, O, C, k)
    best = torch.zeros(a.shape[0], a.shape[1], dtype=torch.float64)
    for part in (products.clamp(min=0).sum(3), (-products).clamp(min=0).sum(3)):
        total = part.sum(2, keepdim=True)
        best = torch.maximum(best, torch.where(total > 0, part / total, 0).amax(1))
    return best


@pytest.fixture
def case():
    """A convolution read by another and, flattened, a linear layer; 12 and 25 samples."""
    torch.manual_seed(3)
    model = nn.Sequential(
        nn.Conv2d(2, 5, 3), nn.ReLU(), nn.Conv2d(5, 4, 3), nn.Tanh(), nn.Flatten(),
        nn.Linear(16, 3),
    )  # fmt: skip
    x = torch.randn(37, 2, 6, 6)
    graph = prunella.trace(model, x[:1])
    scores = prunella.sensitivities(model, graph, [x[:12]])
    plan = prunella.Plan.from_kept(graph, {"0": [0, 1, 3], "2": [1, 2, 3]})
    return model, x, plan, scores


def loader(x, size=4):
    return list(x.split(size))


def test_the_constant_is_the_order_statistic_of_the_largest_ratios(case):
    model, x, plan, scores = case
    found = prunella.a_priori(model, plan, scores, loader(x[12:]), alpha=0.2, delta=0.03)
    with torch.no_grad():
        a = model[1](model[0](x[12:]))
        b = model[3](model[2](a)).reshape(25, 4, 4)
        patches = F.unfold(a, 3).reshape(25, 5, 9, 4)  # four output positions
        conv = torch.stack(
            [largest_shares(patches[..., p], model[2].weight.flatten(2)) for p in range(4)]
        ).amax(0)
        linear = largest_shares(b, model[5].weight.reshape(3, 4, 4))
    for name, shares, sums in (("0", conv, 2 * 4 * 4), ("2", linear, 2 * 3)):
        ratios = (shares / scores[name].double()).amax(1)
        bound = found.by_group[name]
        # ceil(26 * 0.8) = 21
        assert bound.constant == pytest.approx(float(ratios.sort().values[20]), rel=1e-5)
        assert bound.sums == sums == scores.sums[name]
        assert bound.total == pytest.approx(float(scores[name].double().sum()))
        assert bound.raised == 0
        removed = sorted({*range(bound.size)} - set(plan.kept[name].tolist()))
        assert bound.deterministic.eps == pytest.approx(
            bound.constant * float(scores[name].double()[removed].sum())
        )
        assert bound.random.eps == pytest.approx(
            epsilon(bound.random.draws, bound.total, sums, 0.03, bound.constant)
        )
        assert bound.deterministic.probability == 0.8
        assert bound.random.probability == bound.hybrid.probability == pytest.approx(0.77)
    assert (found.n, found.alpha, found.delta) == (25, 0.2, 0.03)
    assert found.by_group["0"].readers == ("2",)


def test_neither_the_loader_nor_the_models_mode_matter_and_nothing_is_changed(case):
    model, x, plan, scores = case
    model.train()
    before = copy.deepcopy(model.state_dict())
    one = prunella.a_priori(model, plan, scores, loader(x[12:]), alpha=0.2)
    other = prunella.a_priori(model.eval(), plan, scores, loader(x[12:].flip(0), 25), alpha=0.2)
    assert one == other
    assert one.samples_digest == other.samples_digest
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_channel_that_calibration_never_saw_is_floored_and_counted():
    """Channel 2 is dead unless the first input is negative, which only held-out samples are."""
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 0], [0, 1], [-1, 0], [1, 1]]))
        model[0].bias.zero_()
        model[2].weight.copy_(torch.tensor([[1.0, 0.1, 1, 2]]))
    x = torch.rand(60, 2) + 0.1
    graph = prunella.trace(model, x[:1])
    scores = prunella.sensitivities(model, graph, [x[:20]])
    values = scores["0"].double()
    assert values[2] == 0
    held_out = torch.cat([x[20:40], x[40:] * torch.tensor([-1.0, 1.0])])
    plan = prunella.Plan.from_kept(graph, {"0": [0, 1, 3]})
    bound = prunella.a_priori(model, plan, scores, [held_out], alpha=0.1).by_group["0"]
    floor = float(values[values > 0].min())
    assert bound.raised == 1
    assert bound.total == pytest.approx(float(values.sum()) + floor)
    with torch.no_grad():
        shares = largest_shares(model[1](model[0](held_out))[..., None], model[2].weight[..., None])
    ratios = (shares / values.clamp(min=floor)).amax(1)
    assert bound.constant == pytest.approx(float(ratios.sort().values[36]), rel=1e-5)  # 41 * 0.9
    assert math.isfinite(bound.constant)
    # It is removed, so what it may contribute is the error.
    assert bound.deterministic.eps == pytest.approx(bound.constant * floor)
    assert bound.random.eps == pytest.approx(bound.constant * floor)  # nothing left to draw


def test_samples_that_informed_the_scores_are_refused(case):
    model, x, plan, scores = case
    with pytest.raises(DataError, match="2 of the 27 held-out samples also informed the "
                       "scores or the plan; measured on them, the constant C"):  # fmt: skip
        prunella.a_priori(model, plan, scores, loader(x[10:]))


def test_dictionaries_have_the_fingerprints_that_scores_have():
    model = Net(
        lambda net, mask, inputs: net.b(F.relu(net.a(inputs * mask))),
        a=nn.Linear(3, 6), b=nn.Linear(6, 2),
    )  # fmt: skip
    x, mask = torch.rand(30, 3), torch.rand(30, 3)

    def batch(chosen):
        return {"mask": mask[chosen], "inputs": x[chosen], "labels": torch.zeros(30)[chosen]}

    graph = prunella.trace(model, {"mask": mask[:1], "inputs": x[:1]})
    scores = prunella.sensitivities(model, graph, [batch(slice(0, 10))])
    plan = prunella.Plan.from_kept(graph, {"a": [0, 1, 2]})
    found = prunella.a_priori(model, plan, scores, [batch(slice(10, 30))], alpha=0.1)
    assert found.n == 20
    with pytest.raises(DataError, match="1 of the 21 held-out samples also informed the scores"):
        prunella.a_priori(model, plan, scores, [batch(slice(9, 30))], alpha=0.1)


def test_repeated_and_missing_samples_are_refused(case):
    model, x, plan, scores = case
    with pytest.raises(DataError, match="1 of the 26 held-out samples repeat another one"):
        prunella.a_priori(model, plan, scores, [x[12:], x[12:13]])
    for empty in ([], [x[:0]]):
        with pytest.raises(DataError, match="the loader of held-out samples yields none"):
            prunella.a_priori(model, plan, scores, empty)


def test_too_few_samples_say_how_many_are_needed(case):
    model, x, plan, scores = case
    with pytest.raises(DataError, match=r"18 held-out samples are too few for the constant C of "
                       r"group '0' at alpha = 0.05: at least 19 are needed"):  # fmt: skip
        prunella.a_priori(model, plan, scores, [x[12:30]])
    assert prunella.a_priori(model, plan, scores, [x[12:31]]).n == 19
    with pytest.raises(DataError, match=r"at alpha = 0.025: at least 39 are needed"):
        prunella.a_priori(model, plan, scores, [x[12:]], simultaneous=True)


def test_together_each_group_gets_its_part_of_alpha_and_delta(case):
    model, x, plan, scores = case
    alone = prunella.a_priori(model, plan, scores, [x[12:]], alpha=0.1, delta=0.01)
    both = prunella.a_priori(
        model, plan, scores, [x[12:]], alpha=0.2, delta=0.02, simultaneous=True
    )
    assert both.by_group == alone.by_group
    assert "all groups together: alpha = 0.2" in str(both)
    assert "hold together with probability at least 78 %" in both.statement
    assert "only with probability at least 78 %" in alone.statement


def test_other_scores_and_plans_are_refused(case):
    model, x, plan, scores = case
    norms = dataclasses.replace(scores, method="filter-norm")
    with pytest.raises(InputError, match="the scores are of method 'filter-norm'; expected those"):
        prunella.a_priori(model, plan, norms, [x[12:]])
    for values, had in (({}, "none"), ({"0": torch.ones(4)}, "4")):
        with pytest.raises(InputError, match=f"group '0' has 5 channels but {had} scores"):
            prunella.a_priori(model, plan, ChannelScores(method="pfp", by_group=values), [x[12:]])
    bad = dataclasses.replace(scores, by_group={**scores, "2": torch.tensor([1, 1, -1.0, 1])})
    with pytest.raises(InputError, match="group '2': scores must be finite and not negative"):
        prunella.a_priori(model, plan, bad, [x[12:]])
    none = dataclasses.replace(scores, by_group={**scores, "2": torch.zeros(4)})
    with pytest.raises(
        DataError, match=r"group '2' \(4 channels\): every sensitivity is 0 over 12"
    ):
        prunella.a_priori(model, plan, none, [x[12:]])
    whole = prunella.Plan.from_kept(plan.graph, {})
    with pytest.raises(InputError, match="the plan keeps every channel of every group"):
        prunella.a_priori(model, whole, scores, [x[12:]])
    with pytest.raises(InputError, match="alpha is 1; expected a number strictly between 0 and 1"):
        prunella.a_priori(model, plan, scores, [x[12:]], alpha=1)


def test_values_that_are_not_finite_are_refused(case):
    model, x, plan, scores = case
    x[20] = torch.nan
    with pytest.raises(DataError, match=r"the input of '2.weight' holds NaN or infinite values"):
        prunella.a_priori(model, plan, scores, [x[12:]])
    with torch.no_grad():
        model[0].bias[1] = torch.inf
    with pytest.raises(InputError, match=r"'0.bias' holds 1 NaN or infinite values of 5"):
        prunella.a_priori(model, plan, scores, [x[12:19]])


def test_another_network_is_noticed(case):
    _, x, plan, scores = case
    other = nn.Sequential(nn.Conv2d(2, 3, 6), nn.Flatten(), nn.Linear(3, 2))
    with pytest.raises(InputError, match=r"0.weight"):
        prunella.a_priori(other, plan, scores, [x[12:]])


def test_groups_of_a_shared_normalisation_are_left_out():
    model = Net(
        lambda net, x: net.c(net.norm(F.relu(net.b(F.relu(net.a(x)))))),
        a=nn.Linear(3, 6), b=nn.Linear(6, 4), norm=nn.LayerNorm(4), c=nn.Linear(4, 2),
    )  # fmt: skip
    x = torch.rand(40, 3)
    graph = prunella.trace(model, x[:1], through_norms=True)
    assert not graph.group("b").exact
    scores = prunella.sensitivities(model, graph, [x[:20]])
    plan = prunella.Plan.from_kept(graph, {"a": [0, 1], "b": [0, 1]})
    found = prunella.a_priori(model, plan, scores, [x[20:]], alpha=0.1)
    assert list(found.by_group) == ["a"]
    assert list(found.left_out) == ["b"]
    assert "b: no bound, its channels share the statistics of a normalisation" in str(found)
    assert found.network.reason.startswith("b: its channels share the statistics")


def test_a_layer_that_runs_twice_makes_twice_as_many_sums():
    model = Net(
        lambda net, x: net.b(F.relu(net.a(x))) + net.b(F.relu(net.a(-x))),
        a=nn.Linear(3, 6), b=nn.Linear(6, 2),
    )  # fmt: skip
    x = torch.randn(40, 3)
    graph = prunella.trace(model, x[:1])
    scores = prunella.sensitivities(model, graph, [x[:20]])
    plan = prunella.Plan.from_kept(graph, {"a": [0, 1]})
    bound = prunella.a_priori(model, plan, scores, [x[20:]], alpha=0.1).by_group["a"]
    assert bound.sums == 2 * 2 * 2


def test_scores_without_a_record_say_so(case):
    model, x, plan, scores = case
    unknown = ChannelScores(method="pfp", by_group=dict(scores))
    found = prunella.a_priori(model, plan, unknown, [x[12:]])
    assert "the scores have no record of their samples, so this was not checked" in found.statement
    known = prunella.a_priori(model, plan, scores, [x[12:]])
    assert "none of the 12 samples that informed the scores was among them" in known.statement
    assert known.by_group == found.by_group


def test_the_words_say_what_is_vacuous(case):
    model, x, plan, scores = case
    found = prunella.a_priori(model, plan, scores, [x[12:]])
    for bound in found.by_group.values():
        assert bound.random.vacuous
        assert f"random ({bound.random.draws} draws): {rounded_up(bound.random.eps)}, vacuous" in (
            bound.statement
        )
    small = dataclasses.replace(found.by_group["0"].deterministic, eps=0.1234)
    assert not small.vacuous
    assert small.words == "deterministic (no draws): 0.124 with probability at least 95 %"
    assert dataclasses.replace(small, eps=1.0).vacuous
    text = str(found)
    assert text.splitlines()[0] == (
        "a-priori bounds from 25 held-out samples; each group: alpha = 0.05, delta = 0.01"
    )
    assert "0      3 of 5" in text
    assert "Network: not applicable, tanh is neither a layer" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.1234, "0.124"), (0.1230, "0.123"), (1.001, "1.01"), (1234.5, "1.24e+03"),
     (math.inf, "infinite"), (99.96, "100")],
)  # fmt: skip
def test_bounds_are_rounded_up(value, text):
    assert rounded_up(value) == text


def test_probabilities_are_rounded_down():
    assert percent(1 - 0.05) == "95 %"
    assert percent(0.99999) == "99.99 %"
    assert percent(-0.2) == "0 %"


def test_a_group_whose_readers_do_not_run_is_noticed():
    def forward(net, x):
        a = F.relu(net.a(x))
        return net.b(a) if float(x.sum()) > 0 else a[:, :2]

    model = Net(forward, a=nn.Linear(3, 6), b=nn.Linear(6, 2))
    x = torch.rand(40, 3)
    graph = prunella.trace(model, x[:1])
    scores = prunella.sensitivities(model, graph, [x[:20]])
    plan = prunella.Plan.from_kept(graph, {"a": [0, 1]})
    with pytest.raises(InputError, match="group 'a': none of its consumers ran on the held-out"):
        prunella.a_priori(model, plan, scores, [-x[20:]], alpha=0.1)


@pytest.mark.parametrize("last", [nn.Identity(), nn.Tanh()])
def test_activations_of_earlier_samples_are_let_go(last):
    model = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 2), last)
    x = torch.rand(50, 3)
    graph = prunella.trace(model, x[:1])
    scores = prunella.sensitivities(model, graph, [x[:20]])
    plan = prunella.Plan.from_kept(graph, {"0": [0, 1]})
    seen, alive = [], []

    def watch(module, inputs, output):
        alive.append(sum(reference() is not None for reference in seen))
        seen.append(weakref.ref(output))

    with model[2].register_forward_hook(watch):
        prunella.a_priori(model, plan, scores, [x[20:]], alpha=0.1)
    assert len(seen) == 30
    assert max(alive) <= 2
