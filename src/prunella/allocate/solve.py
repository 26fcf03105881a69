"""Bisection on one number that all groups share, until the cost meets the budget."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from prunella.allocate.cost import CostModel
from prunella.core.budgets import Budget
from prunella.core.errors import BudgetError, DataError
from prunella.core.types import ChannelGraph, ChannelGroup, ChannelScores, Cost
from prunella.sampling import expected_unique, probabilities, sample_complexity

DELTA = 0.1  # failure probability in the sample complexity; it ranks groups, nothing more
_STEPS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """How many units each prunable group keeps.

    Attributes:
        kept: Units to keep, by group.
        achieved: Cost with them.
        knob: Value of the shared quantity: the error eps, the kept fraction, or the score from
            which on units stay.
    """

    kept: Mapping[str, int]
    achieved: Cost
    knob: float


def shared_error(
    graph: ChannelGraph, scores: ChannelScores, budget: Budget, *, multiple: int = 1
) -> Allocation:
    """One relative error eps for all groups, as small as the budget allows.

    For each group, sampling m(eps) channels with replacement in proportion to their sensitivity
    keeps every pre-activation of its consumers within eps (theorem in docs/theory/sampling.md);
    such a draw holds E[unique] different channels, and that many are kept. The data-dependent
    constant C of the theorem is taken as 1 for all groups: it ranks them, it is not the guarantee.

    Source: Liebenwein et al., "Provable Filter Pruning", ICLR 2020, section 3.4.

    Raises:
        BudgetError: the budget is below what the floors allow.
        DataError: a group has only zero scores, or scores are missing.
    """
    chances = {}
    for group in graph.prunable:
        if group.name not in scores or group.name not in scores.sums:
            raise DataError(
                f"group {group.name!r} has no scores, or its number of sums is not known; compute "
                "the scores with prunella.sensitivities and the same graph."
            )
        values = scores[group.name].double().numpy()
        if not values.any():
            raise DataError(
                f"group {group.name!r} ({group.size} channels): every sensitivity is 0 over "
                f"{scores.samples.count} samples; expected at least one positive. Its consumers "
                "see only zeros: use more varied calibration samples, or check the layer."
            )
        chances[group.name] = (probabilities(values), float(values.sum()))

    def wanted(log_eps: float) -> dict[str, float]:
        eps = math.exp(log_eps)
        counts = {}
        for name, (chance, total) in chances.items():
            draws = sample_complexity(eps, total, scores.sums[name], DELTA)
            counts[name] = float(expected_unique(chance, draws))
        return counts

    low, high = math.log(1e-6), math.log(1e9)
    return _bisect(graph, budget, wanted, low=low, high=high, multiple=multiple, knob=math.exp)


def uniform(graph: ChannelGraph, budget: Budget, *, multiple: int = 1) -> Allocation:
    """The same kept fraction in every group, as large as the budget allows.

    Raises:
        BudgetError: the budget is below what the floors allow.
    """
    groups = graph.prunable

    def wanted(removed: float) -> dict[str, float]:
        return {group.name: (1 - removed) * group.size for group in groups}

    return _bisect(
        graph,
        budget,
        wanted,
        low=0.0,
        high=1.0,
        multiple=multiple,
        knob=lambda removed: 1 - removed,
    )


def one_threshold(
    graph: ChannelGraph,
    values: Mapping[str, Tensor],  # group name -> (size,)
    budget: Budget,
    *,
    multiple: int = 1,
) -> Allocation:
    """One threshold for the scores of all groups, as low as the budget allows.

    Each group keeps as many units as have a score above it, and at least one. Of equal scores
    those of earlier groups and units stay.

    Raises:
        BudgetError: the budget is below what the floors allow.
    """
    sizes = torch.tensor([group.size for group in graph.prunable])
    owner = torch.arange(len(sizes)).repeat_interleave(sizes).flip(0)
    scores = torch.cat([values[group.name].double().cpu() for group in graph.prunable]).flip(0)
    order = torch.argsort(scores, stable=True)  # the first to go; later units first among equals

    def gone(removed: float) -> int:
        return int(removed * len(order))

    def wanted(removed: float) -> dict[str, float]:
        taken = torch.bincount(owner[order[: gone(removed)]], minlength=len(sizes))
        left = (sizes - taken).tolist()
        return {group.name: float(n) for group, n in zip(graph.prunable, left, strict=True)}

    return _bisect(
        graph,
        budget,
        wanted,
        low=0.0,
        high=1.0,
        multiple=multiple,
        knob=lambda removed: float(scores[order[min(gone(removed), len(order) - 1)]]),
    )


def topped_up(
    graph: ChannelGraph,
    values: Mapping[str, Tensor],  # group name -> (size,)
    budget: Budget,
    allocation: Allocation,
    *,
    multiple: int = 1,
) -> Allocation:
    """More units of some groups, as long as the budget has room for the next of any.

    The group whose best unit that would go has the largest value comes first.
    """
    model = CostModel(graph)
    target = _target(budget, model)
    kept = dict(allocation.kept)
    size = {group.name: group.size for group in graph.prunable}
    falling = {name: values[name].double().sort(descending=True).values for name in kept}
    open_sets = {
        names[0]: names
        for names in _equal_sets(graph).values()
        if any(kept[name] < size[name] for name in names)
    }
    while open_sets:
        best = {
            first: max(float(falling[n][kept[n]]) for n in names if kept[n] < size[n])
            for first, names in open_sets.items()
        }
        first = max(best, key=lambda name: best[name])
        more = {name: min(size[name], kept[name] + multiple) for name in open_sets[first]}
        fits = budget.measure(model.cost({**kept, **more})) <= target
        if fits:
            kept |= more
        if not fits or all(kept[name] == size[name] for name in more):
            del open_sets[first]
    return Allocation(kept=kept, achieved=model.cost(kept), knob=allocation.knob)


def _target(budget: Budget, model: CostModel) -> int:
    """Units are whole: the product's binary rounding must not cost one."""
    return math.floor(budget.fraction * budget.measure(model.full) * (1 + 1e-12))


def _bisect(
    graph: ChannelGraph,
    budget: Budget,
    wanted: Callable[[float], dict[str, float]],
    *,
    low: float,
    high: float,
    multiple: int,
    knob: Callable[[float], float],
) -> Allocation:
    """Smallest x in [low, high] whose counts meet the budget; counts fall as x grows."""
    model = CostModel(graph)
    sizes = {group.name: group.size for group in graph.prunable}
    sets = _equal_sets(graph)
    target = _target(budget, model)

    def allocation(x: float) -> Allocation:
        counts = _evened(sets, wanted(x))
        kept = {name: _rounded(n, sizes[name], multiple) for name, n in counts.items()}
        return Allocation(kept=kept, achieved=model.cost(kept), knob=knob(x))

    smallest = allocation(high)
    if budget.measure(smallest.achieved) > target:
        raise _unreachable(graph, budget, model, smallest, multiple)
    best = allocation(low)
    if budget.measure(best.achieved) <= target:
        return best
    best = smallest
    for _ in range(_STEPS):
        middle = (low + high) / 2
        found = allocation(middle)
        if budget.measure(found.achieved) <= target:
            best, high = found, middle
        else:
            low = middle
        if high - low <= 1e-12 * max(1.0, abs(high)):
            break
    return _filled(graph, budget, model, best, allocation(low), target)


def _filled(
    graph: ChannelGraph,
    budget: Budget,
    model: CostModel,
    best: Allocation,
    beyond: Allocation,
    target: int,
) -> Allocation:
    """Groups that step up at the same value are let up one by one, as far as the budget goes.

    Args:
        best: The largest allocation of all groups at one value that meets the budget.
        beyond: The next one, which exceeds it.
    """
    kept = dict(best.kept)
    sets = _equal_sets(graph)
    for group in graph.prunable:
        names = sets[_set_of(group)]
        raised = {name: max(kept[name], beyond.kept[name]) for name in names}
        changes = any(raised[name] > kept[name] for name in names)
        if changes and budget.measure(model.cost({**kept, **raised})) <= target:
            kept |= raised
    return Allocation(kept=kept, achieved=model.cost(kept), knob=best.knob)


def _equal_sets(graph: ChannelGraph) -> dict[str, list[str]]:
    """Names of the groups that keep equal numbers."""
    sets: dict[str, list[str]] = defaultdict(list)
    for group in graph.prunable:
        sets[_set_of(group)].append(group.name)
    return sets


def _set_of(group: ChannelGroup) -> str:
    return group.balance or f"only {group.name}"


def _evened(sets: Mapping[str, list[str]], wanted: Mapping[str, float]) -> dict[str, float]:
    """The mean over groups that keep equal numbers; as it was for all others."""
    return {
        name: sum(wanted[other] for other in names) / len(names)
        for names in sets.values()
        for name in names
    }


def _rounded(wanted: float, size: int, multiple: int) -> int:
    """Nearest multiple or the whole group, at least one multiple, at most the size."""
    if size <= multiple:
        return size if multiple > 1 else 1
    count = multiple * max(1, math.floor(wanted / multiple + 0.5))
    return size if size - wanted < abs(count - wanted) else count


def _unreachable(
    graph: ChannelGraph, budget: Budget, model: CostModel, smallest: Allocation, multiple: int
) -> BudgetError:
    full = budget.measure(model.full)
    reach = budget.measure(smallest.achieved)
    # Rounded up, so that the value named can really be asked for.
    fraction = math.ceil(1e4 * reach / full) / 1e4
    frozen = [group.name for group in graph.groups if not group.prunable]
    named = f"that is {type(budget).__name__}({fraction:g})" if fraction < 1 else "nearly all"
    message = (
        f"{type(budget).__name__}({budget.fraction:g}) asks for at most "
        f"{budget.fraction * full:,.0f} of {full:,} {budget.unit}, but the smallest reachable is "
        f"{reach:,}, {named}: every group keeps at least "
        f"{multiple} unit{'s' if multiple > 1 else ''}, and {len(frozen)} of "
        f"{len(graph.groups)} groups cannot be pruned ({', '.join(frozen[:5])}"
        f"{', ...' if len(frozen) > 5 else ''}). Ask for at least that, or lower the multiple."
    )
    return BudgetError(message, smallest=fraction if fraction < 1 else None)
