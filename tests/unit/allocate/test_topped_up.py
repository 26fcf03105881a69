"""What a threshold leaves of the budget goes to the next units that fit."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import prunella
from prunella.allocate import CostModel, one_threshold, topped_up
from prunella.core.budgets import Flops


def network():
    return nn.Sequential(
        nn.Conv2d(1, 9, 3), nn.ReLU(), nn.Conv2d(9, 14, 3), nn.ReLU(), nn.Conv2d(14, 5, 3),
        nn.ReLU(), nn.Conv2d(5, 2, 1),
    )  # fmt: skip


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 1000),
    fraction=st.floats(0.2, 0.95),
    multiple=st.sampled_from([1, 2, 4]),
)
def test_nothing_more_fits_and_nothing_is_lost(seed, fraction, multiple):
    graph = prunella.trace(network(), torch.zeros(1, 1, 9, 9))
    generator = torch.Generator().manual_seed(seed)
    values = {g.name: torch.rand(g.size, generator=generator) for g in graph.prunable}
    budget = Flops(fraction)
    try:
        before = one_threshold(graph, values, budget, multiple=multiple)
    except prunella.BudgetError:
        return
    after = topped_up(graph, values, budget, before, multiple=multiple)
    costs = CostModel(graph)
    limit = fraction * costs.full.macs * (1 + 1e-12)
    assert after.achieved == costs.cost(after.kept)
    assert after.achieved.macs <= limit
    for group in graph.prunable:
        name, count = group.name, after.kept[group.name]
        assert count >= before.kept[name]
        assert count % multiple == 0 or count == group.size
        if count < group.size:
            more = {**after.kept, name: min(group.size, count + multiple)}
            assert costs.cost(more).macs > limit


def test_the_group_of_the_best_unit_comes_first():
    graph = prunella.trace(network(), torch.zeros(1, 1, 9, 9))
    first, second, third = (group.name for group in graph.prunable)
    values = {first: torch.zeros(9), second: torch.arange(14.0), third: torch.zeros(5)}
    start = prunella.allocate.Allocation(
        kept={first: 3, second: 3, third: 3}, achieved=CostModel(graph).full, knob=0.0
    )
    found = topped_up(graph, values, Flops(0.35), start)
    assert found.kept[second] > 3
    assert (found.kept[first], found.kept[third]) == (3, 3)


def test_layers_that_keep_equal_numbers_rise_together():
    model = nn.Sequential(
        nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 10), nn.ReLU(), nn.Linear(10, 3)
    )
    graph = prunella.trace(model, torch.zeros(1, 6), equal_layers=True)
    values = {g.name: torch.rand(g.size) for g in graph.prunable}
    budget = prunella.Params(0.6)
    found = topped_up(graph, values, budget, one_threshold(graph, values, budget))
    one, other = graph.prunable
    assert one.balance == other.balance != ""
    assert found.kept[one.name] == found.kept[other.name] > 1
