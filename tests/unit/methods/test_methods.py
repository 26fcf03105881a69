"""Which units stay: the registry, ties, and each method's rule."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

import prunella
from prunella.allocate import uniform
from prunella.core.errors import InputError
from prunella.core.types import ChannelScores
from prunella.methods import METHODS, Selection, register_method

BUDGET = prunella.Params(0.5)


@pytest.fixture
def graph():
    model = nn.Sequential(nn.Linear(4, 10), nn.ReLU(), nn.Linear(10, 6), nn.ReLU(), nn.Linear(6, 3))
    return prunella.trace(model, torch.zeros(1, 4))


@pytest.fixture
def methods():
    """The registry as it was, after the test."""
    before = dict(METHODS)
    yield METHODS
    METHODS.clear()
    METHODS.update(before)


def scores(graph, *, by_group=None, norms=None, method="pfp"):
    generator = torch.Generator().manual_seed(5)
    drawn = {g.name: torch.rand(g.size, generator=generator) for g in graph.prunable}
    values = {**drawn, **(by_group or {})}
    return ChannelScores(
        method=method,
        by_group=values,
        filter_norms=values if norms is None else norms,
        sums=dict.fromkeys(values, 50),
    )


# -- registry ------------------------------------------------------------------------------------


def test_unknown_method_lists_those_that_exist(graph):
    with pytest.raises(InputError, match=r"unknown method 'magic'.*: pfp, .*filter-norm, .*random"):
        prunella.plan(graph, None, BUDGET, method="magic")


def test_taken_name_is_refused(methods):
    with pytest.raises(InputError, match="'pfp' is registered already"):
        register_method("pfp", "another")(lambda *a, **k: None)
    assert METHODS["pfp"].summary != "another"


def test_own_function_works_through_plan(graph, methods):
    @register_method("first", "keep the first ones", uses_scores=False)
    def first(graph, scores, budget, *, multiple, generator):
        allocation = uniform(graph, budget, multiple=multiple)
        kept = {name: torch.arange(count) for name, count in allocation.kept.items()}
        return Selection(kept=kept, allocation=allocation)

    plan = prunella.plan(graph, None, BUDGET, method="first", seed=3)
    assert plan.method == "first"
    assert plan.achieved.params <= 0.5 * plan.original.params
    assert all(units.tolist() == list(range(len(units))) for units in plan.kept.values())
    assert callable(first)  # the decorator gives the function back
    assert METHODS["first"].uses_scores is False


def test_own_function_is_checked(graph, methods):
    @register_method("broken", "keep what is not there", uses_scores=False)
    def broken(graph, scores, budget, *, multiple, generator):
        return Selection(
            kept={"0": torch.tensor([99])}, allocation=uniform(graph, budget, multiple=multiple)
        )

    with pytest.raises(InputError, match=r"group '0' has units 0 to 9, got 99"):
        prunella.plan(graph, None, BUDGET, method="broken")


# -- rules ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["pfp", "filter-norm"])
def test_the_largest_stay(graph, method):
    known = scores(graph)
    plan = prunella.plan(graph, known, BUDGET, method=method)
    for group in graph.prunable:
        stays = set(plan.kept[group.name].tolist())
        values = known[group.name]
        gone = [float(values[u]) for u in range(group.size) if u not in stays]
        assert 0 < len(stays) < group.size
        assert min(float(values[u]) for u in stays) >= max(gone)
        assert plan.kept[group.name].tolist() == sorted(stays)


@pytest.mark.parametrize("method", ["pfp", "filter-norm"])
def test_ties_are_broken_by_position(graph, method):
    known = scores(graph, by_group={g.name: torch.ones(g.size) for g in graph.prunable})
    plan = prunella.plan(graph, known, BUDGET, method=method)
    for units in plan.kept.values():
        assert units.tolist() == list(range(len(units)))


def test_filter_norm_reads_norms_not_sensitivities(graph):
    values = {g.name: torch.arange(g.size).float() + 1 for g in graph.prunable}
    norms = {name: value.flip(0) for name, value in values.items()}
    plan = prunella.plan(graph, scores(graph, by_group=values, norms=norms), BUDGET, "filter-norm")
    for units in plan.kept.values():
        assert units.tolist() == list(range(len(units)))


def test_random_depends_on_the_seed_alone(graph):
    torch.manual_seed(1)
    a = prunella.plan(graph, None, BUDGET, method="random", seed=7)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    b = prunella.plan(graph, scores(graph), BUDGET, method="random", seed=7)
    assert torch.equal(torch.get_rng_state(), state)
    c = prunella.plan(graph, None, BUDGET, method="random", seed=8)
    assert all(torch.equal(a.kept[name], b.kept[name]) for name in a.kept)
    assert any(not torch.equal(a.kept[name], c.kept[name]) for name in a.kept)
    assert (a.seed, a.samples.count) == (7, 0)


def test_random_is_uniform(graph):
    trials = 1000
    hits = {group.name: torch.zeros(group.size) for group in graph.prunable}
    for seed in range(trials):
        plan = prunella.plan(graph, None, BUDGET, method="random", seed=seed)
        for name, units in plan.kept.items():
            hits[name][units] += 1
    for group in graph.prunable:
        share = len(plan.kept[group.name]) / group.size
        error = (trials * share * (1 - share)) ** 0.5
        assert 0 < share < 1
        assert float((hits[group.name] - trials * share).abs().max()) < 4 * error


# -- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["pfp", "filter-norm"])
def test_scores_are_needed(graph, method):
    with pytest.raises(InputError, match=rf"method '{method}' needs scores"):
        prunella.plan(graph, None, BUDGET, method=method)


def test_scores_of_another_graph_are_refused(graph):
    other = prunella.trace(
        nn.Sequential(nn.Linear(4, 7), nn.ReLU(), nn.Linear(7, 3)), torch.zeros(1, 4)
    )
    with pytest.raises(InputError, match="group '0' has 10 units but 7 scores"):
        prunella.plan(graph, scores(other), BUDGET)
    missing = scores(graph)
    del missing.by_group["2"]
    with pytest.raises(InputError, match="group '2' has 6 units but none scores"):
        prunella.plan(graph, missing, BUDGET)


@pytest.mark.parametrize("method", ["pfp", "filter-norm"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -1.0])
def test_scores_that_are_no_scores_are_refused(graph, method, bad):
    known = scores(graph)
    known["2"][3] = bad
    with pytest.raises(InputError, match="group '2': scores must be finite and not negative"):
        prunella.plan(graph, known, BUDGET, method=method)


def test_missing_norms_are_refused(graph):
    with pytest.raises(InputError, match="group '0' has 10 units but none scores"):
        prunella.plan(graph, scores(graph, norms={}), BUDGET, method="filter-norm")


def test_scores_of_another_method_are_refused(graph):
    with pytest.raises(InputError, match="'pfp' needs scores of 'pfp', got scores of method 'l1'"):
        prunella.plan(graph, scores(graph, method="l1"), BUDGET)


@pytest.mark.parametrize("multiple", [0, -8])
def test_multiple_is_positive(graph, multiple):
    with pytest.raises(InputError, match=f"multiple must be at least 1, got {multiple}"):
        prunella.plan(graph, scores(graph), BUDGET, multiple=multiple)


def test_samples_of_the_scores_reach_the_plan(graph):
    ids = prunella.core.samples.SampleIds.of(torch.randn(4, 3))
    known = dataclasses.replace(scores(graph), samples=ids)
    assert prunella.plan(graph, known, BUDGET).samples == ids
    assert prunella.plan(graph, known, BUDGET, method="random").samples.count == 0
