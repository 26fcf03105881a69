"""Plans for a run time, with a made-up clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count

import pytest
import torch
from torch import nn

import prunella
from prunella.core.budgets import Budget, Bytes, Flops, Latency
from prunella.core.errors import BudgetError, InputError
from prunella.core.results import RunTimes
from prunella.planning import Trial, search
from prunella.plans import Plan, plan_for_cost


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(64 * 16, 10),
    )  # fmt: skip


def planner() -> Callable[[Budget], Plan]:
    graph = prunella.trace(network(), torch.randn(1, 3, 8, 8))
    return lambda budget: plan_for_cost(graph, None, budget, "random")


def clock(time: Callable[[float], float]) -> tuple[Callable[[Plan, int], Trial], list[int]]:
    """Run time as a function of the share of multiply-adds, and how often each was timed."""
    asked: list[int] = []

    def timed(plan: Plan, runs: int) -> Trial:
        asked.append(runs)
        after = time(plan.achieved.macs / plan.original.macs)
        times = RunTimes(
            batch=1, runs=runs, before=(1.0, 1.0, 1.0), after=(after,) * 3, speedup=1 / after
        )
        return Trial(plan=plan, times=times)

    return timed, asked


@pytest.mark.parametrize("target", [0.45, 0.6, 0.9])
@pytest.mark.parametrize(
    "time",
    [
        lambda share: share,
        lambda share: 0.3 + 0.7 * share,
        lambda share: 0.2 + 0.8 * share**0.5,
        lambda share: 0.1 + 0.9 * share**3,
        lambda share: round(20 * share) / 20,  # in steps
    ],
)
def test_the_found_network_meets_the_budget_and_wastes_little(
    time: Callable[[float], float], target: float
) -> None:
    timed, asked = clock(time)
    found = search(planner(), timed, Latency(target))
    assert found.share <= target
    assert found.share >= 0.85 * target
    assert found.times.runs > asked[0]  # confirmed by a longer timing
    assert len(asked) <= 14


def test_a_network_that_only_seemed_fast_enough_is_not_returned() -> None:
    turns = count()

    def timed(plan: Plan, runs: int) -> Trial:
        share = plan.achieved.macs / plan.original.macs
        lucky = 0.8 if next(turns) == 0 else 1.0
        slow = (0.1 + share) * lucky
        times = RunTimes(batch=1, runs=runs, before=(1.0,) * 3, after=(slow,) * 3, speedup=1 / slow)
        return Trial(plan=plan, times=times)

    found = search(planner(), timed, Latency(0.6))
    assert found.plan.achieved.macs / found.plan.original.macs <= 0.5


def test_a_time_that_no_network_reaches_is_refused_with_what_is_reachable() -> None:
    timed, _ = clock(lambda share: 0.7 + 0.3 * share)
    with pytest.raises(BudgetError, match=r"smallest reachable network takes 7[01]% of it") as told:
        search(planner(), timed, Latency(0.6))
    # One channel of 64 is left between the two convolutions, and 16 positions of it.
    assert "are those of 0 (76%), 5 (13%), 2 (11%)" in str(told.value)


def test_a_clock_that_never_settles_is_told() -> None:
    timed, asked = clock(lambda share: 0.95)
    with pytest.raises(BudgetError, match=r"none met it|smallest reachable"):
        search(planner(), timed, Latency(0.6))
    assert len(asked) <= 10


def test_a_real_network_is_planned_for_a_time_and_says_what_was_measured() -> None:
    model, example = network(), torch.randn(1, 3, 8, 8)
    graph = prunella.trace(model, example)
    budget = prunella.Latency(0.9, batch=16)
    plan = prunella.plan(graph, None, budget, "random", model=model)
    assert plan.requested == budget
    assert plan.latency is not None
    assert plan.latency.batch == 16
    assert plan.latency.speedup >= 1 / 0.9
    assert plan.achieved.macs < plan.original.macs


def test_without_the_model_nothing_can_be_timed() -> None:
    graph = prunella.trace(network(), torch.randn(1, 3, 8, 8))
    with pytest.raises(InputError, match=r"needs the model to time"):
        prunella.plan(graph, None, prunella.Latency(0.6), "random")


@pytest.mark.parametrize("batch", [0, -1, 1.5])
def test_batches_are_whole_and_positive(batch: int) -> None:
    with pytest.raises(BudgetError, match=r"whole number of samples"):
        Latency(0.6, batch=batch)


def test_bytes_are_counted_in_the_types_of_the_tensors() -> None:
    model, example = network().bfloat16(), torch.randn(1, 3, 8, 8, dtype=torch.bfloat16)
    graph = prunella.trace(model, example)
    plan = prunella.plan(graph, None, Bytes(0.5), "random")
    assert plan.achieved.bytes <= 0.5 * plan.original.bytes
    assert plan.original.bytes == 2 * plan.original.params
    assert replace(Flops(0.5), fraction=0.4) == Flops(0.4)
