"""Plans for a run time: what a cut saves on this device is measured, not predicted.

Every method can meet a budget of multiply-adds exactly. Run time falls with them, in steps and by
an amount that depends on the device; so the number of multiply-adds is searched at which the cut
network, timed beside the original, just meets the wanted run time. See
`docs/decisions/0016-latency-by-measurement.md` for why no table of layers is used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from torch import nn

from prunella.allocate import CostModel
from prunella.core.budgets import Budget, Flops, Latency
from prunella.core.errors import BudgetError, InputError
from prunella.core.progress import Progress, silent
from prunella.core.results import RunTimes
from prunella.core.types import ChannelGraph, ChannelScores
from prunella.measure import compare_latency
from prunella.plans import Plan, plan_for_cost

_CLOSE = 0.95  # of the wanted run time: nearer than this is within the noise of timing
_NARROW = 0.01  # share of the multiply-adds; a closer bracket holds the same network
_TRIES = 10
_RUNS = 20
_CONFIRMING_RUNS = 60


class Point(NamedTuple):
    """One timed network, as shares of the original's multiply-adds and run time."""

    work: float
    time: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One network that was cut and timed.

    Attributes:
        plan: How it was cut.
        times: Its run times beside the original's.
    """

    plan: Plan
    times: RunTimes

    @property
    def share(self) -> float:
        """Its run time as a share of the original's."""
        return 1 / self.times.speedup


def make_plan(
    graph: ChannelGraph,
    scores: ChannelScores | None,
    budget: Budget | Latency,
    method: str = "pfp",
    *,
    model: nn.Module | None = None,
    multiple: int = 1,
    seed: int = 0,
    progress: Progress = silent,
) -> Plan:
    """Choose which units to keep so that the budget is met.

    Args:
        graph: From `trace`.
        scores: From `sensitivities` or `score`; may be None for methods that use none ("random").
        budget: `Params(0.4)` keeps at most 40 % of the parameters, `Flops(0.5)` at most half of
            the multiply-adds, `Bytes(0.5)` at most half of the bytes; `Latency(0.6)` runs in at
            most 60 % of the time on the device where the model is.
        method: A registered name: "pfp", "filter-norm", "random" and others; see `METHODS`.
        model: The model that was traced; needed for `Latency` alone, which cuts copies of it and
            times them.
        multiple: Keep multiples of this many channels (or all of a group); 8 or 16 suit CPUs.
        seed: For methods that draw at random.
        progress: Reports the timed networks of a `Latency` budget.

    Returns:
        The plan; for `Latency` with the run times that were measured, in `latency`.

    Raises:
        BudgetError: the budget cannot be met; names the smallest reachable value.
        GraphError: nothing can be pruned; gives the reason for each group.
        InputError: unknown method, scores that do not belong to the graph, or `Latency` without
            a model.
    """

    def within(cost: Budget) -> Plan:
        return plan_for_cost(graph, scores, cost, method, multiple=multiple, seed=seed)

    if not isinstance(budget, Latency):
        return within(budget)
    if model is None:
        raise InputError(
            f"Latency({budget.fraction:g}) needs the model to time what is cut from it: "
            "plan(graph, scores, budget, model=model)."
        )
    original = model

    def timed(plan: Plan, runs: int) -> Trial:
        small = plan.apply(original)
        example = graph.inputs
        (times,) = compare_latency(original, small, example, batches=(budget.batch,), runs=runs)
        return Trial(plan=plan, times=times)

    best = search(within, timed, budget, progress=progress)
    return replace(best.plan, requested=budget, latency=best.times)


def search(
    within: Callable[[Budget], Plan],
    timed: Callable[[Plan, int], Trial],
    budget: Latency,
    *,
    progress: Progress = silent,
) -> Trial:
    """The slowest of the tried networks that meets the budget, confirmed by a longer timing.

    The multiply-adds are bracketed between a network that meets the budget and one that does not,
    and the next try lies where a straight line between the two would just meet it. A network
    counts as meeting it if two timings say so, a short and a long one.

    Args:
        within: Makes the plan for a cost.
        timed: Cuts and times a plan, this many times.
        budget: The wanted run time.
        progress: Reports the tries.

    Raises:
        BudgetError: the fastest reachable network is too slow; names its run time.
    """
    slow, fast = Point(1.0, 1.0), None  # one too slow, and one that meets the budget
    best: Trial | None = None
    share = budget.fraction  # of the multiply-adds, to try next
    for _ in progress(range(_TRIES), description="timing cut networks", total=_TRIES):
        plan, share, is_smallest = _largest_within(within, share)
        trial = timed(plan, _RUNS)
        if trial.share <= budget.fraction:
            trial = timed(plan, _CONFIRMING_RUNS)
        if trial.share <= budget.fraction:
            fast, best = Point(share, trial.share), _slower(best, trial)
        elif is_smallest:
            raise BudgetError(_unreachable(budget, trial))
        else:
            slow = Point(share, trial.share)
        if fast and (fast.time >= _CLOSE * budget.fraction or slow.work - fast.work < _NARROW):
            break
        share = _next(fast, slow, budget.fraction)
    if best is None:
        raise BudgetError(_not_found(budget, slow))
    return best


def _largest_within(within: Callable[[Budget], Plan], share: float) -> tuple[Plan, float, bool]:
    """The plan for a share of the multiply-adds, or the smallest there is; which share; whether."""
    try:
        return within(Flops(share)), share, False
    except BudgetError as error:
        if error.smallest is None or error.smallest >= 1:
            raise
        return within(Flops(error.smallest)), error.smallest, True


def _slower(best: Trial | None, trial: Trial) -> Trial:
    """Of two that meet the budget the one with more multiply-adds."""
    if best is None or trial.plan.achieved.macs > best.plan.achieved.macs:
        return trial
    return best


def _next(fast: Point | None, slow: Point, target: float) -> float:
    """Where the line through the two ends just meets the target.

    As long as nothing has met it, the line goes through the original and the last network.
    """
    aim = (1 + _CLOSE) / 2 * target
    if fast is not None:
        part = (aim - fast.time) / (slow.time - fast.time)
        return fast.work + min(max(part, 0.1), 0.9) * (slow.work - fast.work)
    steepness = (1 - slow.time) / (1 - slow.work) if slow.work < 1 else 1.0
    step = (slow.time - aim) / max(steepness, 1e-3)
    return min(max(slow.work - step, 0.3 * slow.work), 0.95 * slow.work)


def _in_words(times: RunTimes) -> str:
    return f"{1e3 * times.after[1]:.3g} ms of {1e3 * times.before[1]:.3g} ms"


def _unreachable(budget: Latency, trial: Trial) -> str:
    return (
        f"Latency({budget.fraction:g}) asks for at most {budget.fraction:.0%} of the run time "
        f"with a batch of {budget.batch}, but the smallest reachable network takes "
        f"{trial.share:.0%} of it ({_in_words(trial.times)}). Most of the multiply-adds that are "
        f"left are those of {_limiting(trial.plan)}. Ask for at least that, lower the "
        "multiple, or use a larger batch, which spends less of its time outside of the layers."
    )


def _limiting(plan: Plan) -> str:
    """The layers that do most of the work after the cut."""
    kept = {name: len(units) for name, units in plan.kept.items()}
    macs = CostModel(plan.graph).macs_by_tensor(kept)
    most = sorted(macs, key=lambda name: -macs[name])[:3]
    total = max(1, plan.achieved.macs)
    shares = [f"{name.removesuffix('.weight')} ({macs[name] / total:.0%})" for name in most]
    return ", ".join(shares)


def _not_found(budget: Latency, slow: Point) -> str:
    return (
        f"Latency({budget.fraction:g}): after {_TRIES} networks none met it; the nearest, with "
        f"{slow.work:.0%} of the multiply-adds, took {slow.time:.0%} of the run time with a batch "
        f"of {budget.batch}. Other work on the device disturbs the timing: try again when it is "
        "quiet, or ask for more."
    )
