"""Allocation with one error for all groups: budgets, order, multiples, and errors."""

from __future__ import annotations

import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import prunella
from prunella.allocate import CostModel, shared_error, uniform
from prunella.core.budgets import Flops, Params
from prunella.core.errors import BudgetError, DataError
from prunella.core.types import ChannelScores
from prunella.sampling import expected_unique, probabilities, sample_complexity

WIDTHS = (15, 23, 14)


def network(widths=WIDTHS):
    layers, width = [], 5
    for wide in widths:
        layers += [nn.Linear(width, wide), nn.ReLU()]
        width = wide
    return nn.Sequential(*layers, nn.Linear(width, 4))


def graph_of(widths=WIDTHS):
    return prunella.trace(network(widths), torch.zeros(1, 5))


def scores_of(graph, *, seed=0, factor=None, sums=100):
    generator = torch.Generator().manual_seed(seed)
    values = {
        group.name: torch.rand(group.size, generator=generator).clamp(min=1e-3)
        * (factor or {}).get(group.name, 1)
        for group in graph.prunable
    }
    return ChannelScores(method="pfp", by_group=values, sums=dict.fromkeys(values, sums))


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from([Params, Flops]),
    fraction=st.floats(0.02, 0.98),
    multiple=st.sampled_from([1, 2, 3, 8]),
    seed=st.integers(0, 50),
)
def test_counts_meet_the_budget_and_the_multiple(kind, fraction, multiple, seed):
    graph = graph_of()
    budget = kind(fraction)
    try:
        found = shared_error(graph, scores_of(graph, seed=seed), budget, multiple=multiple)
    except BudgetError:
        kept = {g.name: min(multiple, g.size) for g in graph.prunable}
        model = CostModel(graph)
        assert budget.measure(model.cost(kept)) > fraction * budget.measure(model.full)
        return
    model = CostModel(graph)
    assert found.achieved == model.cost(found.kept)
    assert budget.measure(found.achieved) <= fraction * budget.measure(model.full)
    for group in graph.prunable:
        count = found.kept[group.name]
        assert 1 <= count <= group.size
        assert count % multiple == 0 or count == group.size


@settings(max_examples=30, deadline=None)
@given(a=st.floats(0.05, 0.95), b=st.floats(0.05, 0.95), seed=st.integers(0, 20))
def test_more_budget_never_takes_a_channel_away(a, b, seed):
    graph = graph_of()
    scores = scores_of(graph, seed=seed)
    less, more = (shared_error(graph, scores, Params(f)) for f in sorted((a, b)))
    assert all(less.kept[name] <= more.kept[name] for name in less.kept)
    assert less.knob >= more.knob  # the error that is shared


def test_larger_total_sensitivity_keeps_more():
    graph = graph_of((16, 16, 16))
    plain = scores_of(graph)
    same = dict.fromkeys(plain, plain["0"])
    equal = ChannelScores(method="pfp", by_group=same, sums=plain.sums)
    steep = ChannelScores(method="pfp", by_group={**same, "2": same["2"] * 20}, sums=plain.sums)
    before = shared_error(graph, equal, Params(0.5))
    after = shared_error(graph, steep, Params(0.5))
    # Equal groups step up at the same error; the budget may reach for the first of them only.
    assert before.kept["4"] <= before.kept["2"] <= before.kept["0"] <= before.kept["4"] + 1
    assert after.kept["2"] > after.kept["0"] >= after.kept["4"] >= after.kept["0"] - 1
    assert after.kept["2"] > before.kept["2"]


def test_agrees_with_a_search_over_a_fine_grid_of_errors():
    graph = graph_of()
    scores = scores_of(graph, seed=3)
    model = CostModel(graph)

    def counts(eps):
        kept = {}
        for group in graph.prunable:
            values = scores[group.name].double().numpy()
            draws = sample_complexity(eps, float(values.sum()), scores.sums[group.name], 0.1)
            expected = float(expected_unique(probabilities(values), draws))
            kept[group.name] = min(group.size, max(1, math.floor(expected + 0.5)))
        return kept

    # From small errors to large: the first that fits is what bisection must find.
    grid = [math.exp(-2 + 14 * i / 8_000) for i in range(8_000)]
    for fraction in (0.2, 0.45, 0.7):
        target = fraction * model.full.params
        best = next(kept for kept in map(counts, grid) if model.cost(kept).params <= target)
        found = shared_error(graph, scores, Params(fraction))
        assert dict(found.kept) == best


def test_uniform_is_one_fraction():
    graph = graph_of((40, 20, 10))
    found = uniform(graph, Params(0.4))
    assert found.achieved.params <= 0.4 * CostModel(graph).full.params
    for group in graph.prunable:
        assert abs(found.kept[group.name] - found.knob * group.size) <= 0.5 + 1e-9
    # With one more unit in every group the budget would be broken.
    more = {name: count + 1 for name, count in found.kept.items()}
    assert CostModel(graph).cost(more).params > 0.4 * CostModel(graph).full.params


@pytest.mark.parametrize("multiple", [1, 4, 8])
@pytest.mark.parametrize("kind", [Params, Flops])
@pytest.mark.parametrize("widths", [(12, 20, 9), (33, 7, 61), (250, 1, 10), (9, 2, 17)])
def test_the_value_named_in_the_error_can_be_asked_for(widths, kind, multiple):
    graph = graph_of(widths)
    scores = scores_of(graph)
    for allocate in (
        lambda budget: shared_error(graph, scores, budget, multiple=multiple),
        lambda budget: uniform(graph, budget, multiple=multiple),
    ):
        with pytest.raises(BudgetError, match="smallest reachable is") as caught:
            allocate(kind(1e-6))
        (named,) = re.findall(rf"that is {kind.__name__}\(([\d.]+)\)", str(caught.value))
        found = allocate(kind(float(named)))
        full = CostModel(graph).full
        assert kind(0.5).measure(found.achieved) <= float(named) * kind(0.5).measure(full) + 1e-6
        with pytest.raises(BudgetError):
            allocate(kind(float(named) - 1e-4))


def test_the_value_named_survives_binary_rounding():
    """0.0003 * 10000 is a little less than 3 in binary."""
    graph = graph_of((2, 2, 2))
    model = CostModel(graph)
    least = model.cost({group.name: 1 for group in graph.prunable}).params

    class Exact(Params):
        """A share of exactly the smallest network, of a full cost that is a power of ten."""

        def measure(self, cost):
            return {least: 3, model.full.params: 10_000}.get(cost.params, 5_000)

    assert 0.0003 * 10_000 < 3
    assert uniform(graph, Exact(0.0003)).achieved.params == least


def test_a_multiple_that_leaves_nothing_to_remove():
    graph = graph_of()
    with pytest.raises(BudgetError, match=r"nearly all.* at least 64 units") as caught:
        uniform(graph, Params(0.9), multiple=64)
    assert "Params(1)" not in str(caught.value)


def test_with_a_multiple_a_group_may_stay_whole():
    graph = graph_of((160, 9, 15))
    found = uniform(graph, Params(0.97), multiple=8)
    assert dict(found.kept) == {"0": 152, "2": 9, "4": 15}


def test_groups_no_larger_than_the_multiple_stay_whole():
    graph = graph_of((64, 6, 64))
    found = shared_error(graph, scores_of(graph), Params(0.5), multiple=8)
    assert found.kept["2"] == 6


def test_all_scores_zero_is_an_error():
    graph = graph_of()
    scores = scores_of(graph, factor={"2": 0.0})
    with pytest.raises(DataError, match=r"group '2' \(23 channels\): every sensitivity is 0"):
        shared_error(graph, scores, Params(0.5))


def test_unknown_number_of_sums_is_an_error():
    graph = graph_of()
    scores = ChannelScores(method="pfp", by_group=dict(scores_of(graph)))
    with pytest.raises(DataError, match=r"group '0' has no scores, or its number of sums"):
        shared_error(graph, scores, Params(0.5))


def test_groups_of_two():
    graph = graph_of((2, 2, 2))
    found = shared_error(graph, scores_of(graph), Params(0.8))
    assert set(found.kept.values()) <= {1, 2}
    assert min(found.kept.values()) == 1


def test_one_channel_that_matters_among_dead_ones():
    graph = graph_of()
    values = {group.name: torch.zeros(group.size) for group in graph.prunable}
    for value in values.values():
        value[-1] = 1e-30
    scores = ChannelScores(method="pfp", by_group=values, sums=dict.fromkeys(values, 10**9))
    found = shared_error(graph, scores, Params(0.5))
    assert set(found.kept.values()) == {1}


def test_groups_that_step_up_together_use_the_budget_one_by_one():
    graph = graph_of((4, 4, 4))
    model = CostModel(graph)
    found = uniform(graph, Params(0.66))
    kept = dict(found.kept)
    assert len(set(kept.values())) == 2  # one fraction for all would step all three at once
    limit = 0.66 * model.full.params
    assert found.achieved == model.cost(kept)
    assert found.achieved.params <= limit
    for name, count in kept.items():
        if count < 4:  # nothing more fits
            assert model.cost({**kept, name: count + 1}).params > limit


def test_parts_of_one_axis_keep_equal_numbers():
    class Halves(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(3, 16)
            self.b = nn.Linear(8, 5)
            self.c = nn.Linear(13, 2)

        def forward(self, x):
            left, right = self.a(x).relu().chunk(2, dim=1)
            return self.c(torch.cat([self.b(left).relu(), right], dim=1))

    graph = prunella.trace(Halves(), torch.randn(1, 3))
    left, right = (g for g in graph.prunable if g.balance)
    assert (left.size, right.size, left.balance) == (8, 8, right.balance)
    scores = scores_of(graph)
    steep = {**scores, left.name: scores[left.name] * 50}
    uneven = ChannelScores(method="pfp", by_group=steep, sums=scores.sums)
    for share in (0.3, 0.45, 0.6, 0.8):
        for found in (
            shared_error(graph, uneven, Params(share)),
            uniform(graph, Params(share)),
            shared_error(graph, uneven, Params(share), multiple=2),
        ):
            assert found.kept[left.name] == found.kept[right.name]
