"""Scoring by name: what each method needs, and whose scores fit whom."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import prunella
from prunella.core.errors import InputError
from prunella.core.types import ChannelScores
from prunella.methods import METHODS, register_method
from prunella.methods.ranking import largest_in_each_group

BUDGET = prunella.Params(0.6)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(4, 10), nn.BatchNorm1d(10), nn.ReLU(), nn.Linear(10, 6), nn.BatchNorm1d(6),
        nn.ReLU(), nn.Linear(6, 3),
    ).eval()  # fmt: skip


@pytest.fixture
def graph(model):
    return prunella.trace(model, torch.zeros(1, 4))


@pytest.fixture
def loader():
    return [(torch.randn(20, 4, generator=torch.Generator().manual_seed(3)), torch.arange(20) % 3)]


@pytest.fixture
def methods():
    before = dict(METHODS)
    yield METHODS
    METHODS.clear()
    METHODS.update(before)


@pytest.mark.parametrize("name", [n for n, m in METHODS.items() if m.uses_scores])
def test_each_method_plans_from_its_own_scores(model, graph, loader, name):
    scores = prunella.score(model, graph, loader, name)
    assert scores.method in METHODS[name].takes
    assert {n: len(v) for n, v in scores.items()} == {g.name: g.size for g in graph.prunable}
    reads = METHODS[name].needs != "weights"
    assert scores.samples.count == (20 if reads else 0)
    plan = prunella.plan(graph, scores, BUDGET, name, seed=2)
    assert plan.samples == scores.samples
    again = prunella.plan(graph, scores, BUDGET, name, seed=2)
    assert all(torch.equal(plan.kept[n], again.kept[n]) for n in plan.kept)


@pytest.mark.parametrize("name", [n for n, m in METHODS.items() if m.uses_scores])
def test_what_a_method_needs_is_asked_for(model, graph, loader, name):
    needs = METHODS[name].needs
    if needs == "weights":
        assert len(prunella.score(model, graph, method=name)) == 2
        return
    words = {"samples": "samples", "labels": "samples with labels"}[needs]
    with pytest.raises(InputError, match=f"method '{name}' needs {words}: give prunella.score a"):
        prunella.score(model, graph, method=name)


def test_the_family_shares_the_scores_of_sensitivities(model, graph, loader):
    known = prunella.sensitivities(model, graph, loader)
    for name in ("pfp", "pfp-random", "pfp-hybrid", "pfp-systematic"):
        scores = prunella.score(model, graph, loader, name)
        assert scores.method == "pfp"
        assert all(torch.equal(scores[n], known[n]) for n in known)


@pytest.mark.parametrize(
    ("own", "other"),
    [("taylor", "pfp"), ("pfp-random", "taylor"), ("filter-norm-l1", "filter-norm"),
     ("filter-norm", "fpgm"), ("bn-scale", "pfp"), ("thinet", "fpgm")],
)  # fmt: skip
def test_scores_of_one_method_are_no_scores_for_another(model, graph, loader, own, other):
    scores = prunella.score(model, graph, loader, other)
    with pytest.raises(
        InputError, match=f"'{own}' needs scores of '.*got scores of method '{scores.method}'; make"
    ):
        prunella.plan(graph, scores, BUDGET, own)


def test_a_method_without_scores(model, graph, loader):
    with pytest.raises(InputError, match="method 'random' uses no scores"):
        prunella.score(model, graph, loader, "random")
    with pytest.raises(InputError, match="unknown method 'magic'; available methods: pfp, "):
        prunella.score(model, graph, loader, "magic")


def test_damaged_weights_are_refused(model, graph):
    model[0].weight.data[1, 1] = torch.nan
    with pytest.raises(InputError, match=r"'0.weight' holds 1 NaN"):
        prunella.score(model, graph, method="filter-norm")


# -- methods of one's own ------------------------------------------------------------------------


def test_a_method_with_a_scoring_half(model, graph, loader, methods):
    def by_bias(model, graph, loader, *, generator, progress):
        seen = torch.rand(1, generator=generator)
        values = {g.name: model[int(g.name)].bias.detach().abs() + seen for g in graph.prunable}
        return ChannelScores(method="bias", by_group=values)

    register_method("bias", "keep large biases", score=by_bias, needs="weights")(
        largest_in_each_group
    )
    a, b, c = (prunella.score(model, graph, method="bias", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(a["0"], b["0"])
    assert not torch.equal(a["0"], c["0"])
    plan = prunella.plan(graph, a, BUDGET, "bias")
    top = model[0].bias.abs().argsort(descending=True)[: len(plan.kept["0"])]
    assert plan.kept["0"].tolist() == sorted(top.tolist())


def test_a_method_without_a_scoring_half_gets_sensitivities(model, graph, loader, methods):
    register_method("mine", "mine")(largest_in_each_group)
    scores = prunella.score(model, graph, loader, "mine")
    assert scores.method == "pfp"
    assert prunella.plan(graph, scores, BUDGET, "mine").method == "mine"
    by_hand = ChannelScores(method="mine", by_group=dict(scores))
    assert prunella.plan(graph, by_hand, BUDGET, "mine").method == "mine"


def test_scores_of_another_method_may_be_declared_to_fit(model, graph, loader, methods):
    register_method("mine", "mine", takes=("taylor",))(largest_in_each_group)
    scores = prunella.score(model, graph, loader, "taylor")
    assert prunella.plan(graph, scores, BUDGET, "mine").method == "mine"


def test_what_a_scoring_half_gives_is_checked(model, graph, methods):
    def wrong(model, graph, loader, *, generator, progress):
        return ChannelScores(method="wrong", by_group={"0": torch.ones(3)})

    def named_otherwise(model, graph, loader, *, generator, progress):
        return ChannelScores(method="other", by_group={g.name: torch.ones(g.size)
                                                       for g in graph.prunable})  # fmt: skip

    register_method("wrong", "", score=wrong, needs="weights")(largest_in_each_group)
    register_method("named", "", score=named_otherwise, needs="weights")(largest_in_each_group)
    with pytest.raises(InputError, match="group '0' has 10 units but 3 scores"):
        prunella.score(model, graph, method="wrong")
    with pytest.raises(InputError, match="'named' needs scores of 'named', got scores of"):
        prunella.score(model, graph, method="named")
