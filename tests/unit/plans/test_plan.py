"""Plans by hand, budgets, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import prunella
from prunella.core.budgets import Budget
from prunella.core.errors import BudgetError, GraphError, InputError


@pytest.fixture
def model():
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 16, 4))


@pytest.fixture
def graph(model):
    return prunella.trace(model, torch.zeros(1, 3, 6, 6))


@pytest.mark.parametrize(
    ("units", "message"),
    [
        ([], "at least one of 6 units must be kept"),
        (torch.tensor([], dtype=torch.long), "at least one of 6 units must be kept"),
        ([1, 1, 2], "1 units are named twice"),
        ([0, 6], "has units 0 to 5, got 0 to 6"),
        ([-1, 2], "has units 0 to 5, got -1 to 2"),
        ([0.0, 1.0], "must be a list of integers, got torch.float32"),
        ([True, False, True, True, False, True], "must be a list of integers, got torch.bool"),
        (torch.ones(6, dtype=torch.bool), "must be a list of integers, got torch.bool"),
        ([[0, 1], [2, 3]], r"must be a list of integers, got torch.int64 of shape \(2, 2\)"),
        (3, r"must be a list of integers, got torch.int64 of shape \(\)"),
        (["a"], "must be a list of integers"),
        (None, "must be a list of integers"),
        ([2**70], "must be a list of integers"),
    ],
)
def test_units_that_cannot_be_kept(graph, units, message):
    with pytest.raises(InputError, match=rf"group '0'.*{message}"):
        prunella.Plan.from_kept(graph, {"0": units})


def test_unknown_and_frozen_groups(graph):
    with pytest.raises(InputError, match=r"there is no group 'zero'; prunable groups: 0\."):
        prunella.Plan.from_kept(graph, {"zero": [0]})
    with pytest.raises(InputError, match=r"group '3' cannot be pruned: is an output of the model"):
        prunella.Plan.from_kept(graph, {"3": [0]})


def test_nothing_to_prune():
    lonely = prunella.trace(nn.Linear(3, 2), torch.zeros(1, 3))
    with pytest.raises(GraphError, match="no group of channels that could be removed"):
        prunella.Plan.from_kept(lonely, {})


@pytest.mark.parametrize(
    "units", [[5, 0, 2], torch.tensor([2, 5, 0], dtype=torch.int32), np.array([0, 2, 5]), (2, 0, 5)]
)
def test_units_in_any_form_and_order(model, graph, units):
    plan = prunella.Plan.from_kept(graph, {"0": units})
    assert plan.kept["0"].tolist() == [0, 2, 5]
    assert plan.kept["0"].dtype == torch.long
    small = plan.apply(model)
    assert torch.equal(small[0].weight, model[0].weight[[0, 2, 5]])
    assert plan.achieved == prunella.cost(small, torch.zeros(1, 3, 6, 6))
    assert plan.original == prunella.cost(model, torch.zeros(1, 3, 6, 6))
    assert (plan.method, plan.requested, plan.samples.count) == ("by hand", None, 0)


def test_groups_not_named_stay_whole(model, graph):
    plan = prunella.Plan.from_kept(graph, {})
    assert plan.achieved == plan.original
    assert plan.kept["0"].tolist() == list(range(6))
    small = plan.apply(model)
    assert small is not model
    x = torch.randn(2, 3, 6, 6)
    assert torch.equal(small(x), model(x))


def test_plan_in_words(graph):
    text = str(prunella.Plan.from_kept(graph, {"0": [0, 1]}))
    lines = text.splitlines()
    assert lines[0].startswith("plan by by hand") or "by hand" in lines[0]
    assert "% of the parameters" in lines[0]
    assert any(line.split()[:4] == ["0", "2", "of", "6"] for line in lines)
    assert any("frozen: is an output of the model" in line for line in lines)
    params = 2 * (27 + 1) + 4 * (2 * 16) + 4
    assert f"{100 * params / (6 * 28 + 4 * 96 + 4):.1f} %" in lines[0]


@pytest.mark.parametrize("kind", [prunella.Params, prunella.Flops])
@pytest.mark.parametrize("value", [0, 1, -0.5, 1.5, True, False])
def test_budget_out_of_range(kind, value):
    with pytest.raises(BudgetError, match=r"must lie strictly between 0 and 1 \(0 would keep"):
        kind(value)


@pytest.mark.parametrize("kind", [prunella.Params, prunella.Flops])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), "0.5", None, [0.5]])
def test_budget_that_is_no_number(kind, value):
    with pytest.raises(BudgetError, match=rf"{kind.__name__}\(.*must be a number between 0 and 1"):
        kind(value)


def test_budget_measures_what_it_says():
    cost = prunella.Cost(params=10, macs=20, bytes=40)
    assert prunella.Params(0.5).measure(cost) == 10
    assert prunella.Flops(0.5).measure(cost) == 20
    assert (prunella.Params(0.5).unit, prunella.Flops(0.5).unit) == ("parameters", "multiply-adds")
    with pytest.raises(TypeError, match="abstract"):
        Budget(0.5)


@pytest.mark.parametrize("value", [0.5, "0.5", None, prunella.Params])
def test_bare_number_is_no_budget(graph, value):
    with pytest.raises(InputError, match=r"expected for instance Params\(0.4\)"):
        prunella.plan(graph, None, value, method="random")


def test_cost_fractions():
    small, full = (prunella.Cost(params=p, macs=0, bytes=4 * p) for p in (1, 4))
    assert small.fraction_of(full) == (0.25, 1.0, 0.25)
