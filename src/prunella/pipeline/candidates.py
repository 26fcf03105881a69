"""The networks that a walk may test, made from calibration and retraining samples alone."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import nn
from torch.utils.data import DataLoader

from prunella.core.budgets import Budget
from prunella.core.errors import BudgetError, InputError
from prunella.core.progress import silent
from prunella.core.types import ChannelGraph
from prunella.pipeline.repairing import repaired
from prunella.plans import Plan
from prunella.retrain import EpochRecord, Recipe, fit


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Candidate:
    """A finished small network, and what it was on the way.

    Attributes:
        plan: What was kept.
        after_cut: Before any repair.
        after_repair: Before any training.
        model: Finished.
        training: One record for each epoch.
        difference: Largest relative difference between the cut and the masked original.
    """

    plan: Plan
    after_cut: nn.Module
    after_repair: nn.Module
    model: nn.Module
    training: tuple[EpochRecord, ...]
    difference: float


def checked_shares(shares: Sequence[float]) -> tuple[float, ...]:
    """The shares as they were given; raise InputError unless they fall, strictly inside (0, 1)."""
    numbers = tuple(shares)
    good = bool(numbers) and all(
        isinstance(share, (int, float)) and low < share < high
        for low, share, high in zip((*numbers[1:], 0), numbers, (1, *numbers), strict=False)
    )
    if not good:
        raise InputError(
            f"shares are {shares!r}; expected numbers from large to small, each once, below 1 and "
            "above 0, for instance (0.8, 0.6, 0.4)."
        )
    return numbers


def reachable_plans(
    graph: ChannelGraph,
    make: Callable[[ChannelGraph, Budget], Plan],
    budgets: Sequence[Budget],
) -> tuple[Plan, ...]:
    """A plan for each budget that can be met; of equal plans only the first.

    Args:
        graph: From `trace`.
        make: Makes a plan for a budget.
        budgets: From large to small.

    Raises:
        BudgetError: not even the first can be met.
    """
    plans: list[Plan] = []
    for budget in budgets:
        try:
            plan = make(graph, budget)
        except BudgetError:
            if not plans:
                raise
            break
        if not plans or not _same(plan, plans[-1]):
            plans.append(plan)
    return tuple(plans)


def _same(plan: Plan, other: Plan) -> bool:
    return all(torch.equal(units, other.kept[name]) for name, units in plan.kept.items())


@final
class Candidates:
    """Makes a network from a plan; the same plan always gives the same network.

    Those made while the start was looked for are kept until they are asked for again or dropped.
    """

    def __init__(
        self,
        model: nn.Module,
        plans: Sequence[Plan],
        samples: Iterable[object],
        recipe: Recipe,
        *,
        seed: int,
        cut: Callable[[Plan], tuple[Plan, nn.Module, float]],
    ) -> None:
        """Nothing is made yet.

        Args:
            model: The original; untouched.
            plans: From large to small.
            samples: For repair and retraining.
            recipe: How to retrain.
            seed: For everything random.
            cut: Cuts by a plan; the plan that comes back is the one that was used.
        """
        self.plans = tuple(plans)
        self._model = model
        self._samples = samples
        self._recipe = recipe
        self._seed = seed
        self._cut = cut
        self._order = _order_of(samples)
        self._kept: dict[int, Candidate] = {}

    def __len__(self) -> int:
        return len(self.plans)

    def made(self, place: int, *, keep: bool = False) -> Candidate:
        """The candidate at a place; made unless it was kept."""
        candidate = self._kept.pop(place, None) or self._make(self.plans[place])
        if keep:
            self._kept[place] = candidate
        return candidate

    def drop(self, places: Iterable[int]) -> None:
        """Forget candidates that will hardly be asked for again."""
        for place in places:
            self._kept.pop(place, None)

    def _make(self, plan: Plan) -> Candidate:
        plan, small, difference = self._cut(plan)
        after_cut = copy.deepcopy(small)
        self._begin_again()
        small = repaired(self._model, small, plan, self._samples, seed=self._seed, progress=silent)
        after_repair = copy.deepcopy(small)
        teacher = copy.deepcopy(self._model)
        records = fit(small, self._samples, self._recipe, seed=self._seed, teacher=teacher)
        return Candidate(
            plan=plan,
            after_cut=after_cut,
            after_repair=after_repair,
            model=small,
            training=records,
            difference=difference,
        )

    def _begin_again(self) -> None:
        """A shuffling loader has a generator that goes on; each candidate sees the same order."""
        if self._order is not None:
            generator, state = self._order
            generator.set_state(state)


def _order_of(samples: Iterable[object]) -> tuple[torch.Generator, torch.Tensor] | None:
    generator = samples.generator if isinstance(samples, DataLoader) else None
    return (generator, generator.get_state()) if isinstance(generator, torch.Generator) else None
