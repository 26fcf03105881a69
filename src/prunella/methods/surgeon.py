"""Greedy removal of blocks of inputs of a least-squares problem, by optimal brain surgery.

For sums y = W^T a over inputs a with H = sum over rows of a a^T (+ a ridge), the sums without the
inputs of a block j, with the other weights solved again, lose at least

    e_j = tr( W_j^T ((H^-1)_jj)^-1 W_j ),

and then

    W    <- W    - (H^-1)_:j ((H^-1)_jj)^-1 W_j
    H^-1 <- H^-1 - (H^-1)_:j ((H^-1)_jj)^-1 (H^-1)_j:,

so that the losses of one block after another add up to the loss of all of them. Source: Hassibi,
Stork, "Second order derivatives for network pruning: optimal brain surgeon", NIPS 1992, equations
5 and 6 for single weights; for blocks and layers Kurtic, Frantar, Alistarh, "ZipLM:
inference-aware structured pruning of language models", NeurIPS 2023, section 3.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Protocol, final

import torch
from torch import Tensor

RIDGE = 1e-4  # of the mean diagonal; keeps H definite where there are few rows
_STEPS = 64  # of the units that are left, one in so many goes at each step, and at least one


class System(Protocol):
    """One consumer, as the greedy removal of a group's units sees it."""

    def losses(self, units: Tensor) -> Tensor:
        """What removing each of some units would add to the loss."""
        ...

    def remove(self, units: Tensor) -> Tensor:
        """Take some units out, in this order; what each of them adds to the loss."""
        ...

    def shrink(self) -> None:
        """Give back the memory of what has gone; no value changes."""
        ...


@final
class Correlated:
    """Other inputs make up for those that go, as well as they can."""

    def __init__(
        self,
        gram: Tensor,  # (inputs, inputs) float64
        weight: Tensor,  # (inputs, outputs) float64
        blocks: Tensor,  # (units, k) int64, inputs of each unit
        scale: float,
    ) -> None:
        """Nothing is removed yet.

        Args:
            gram: Of what is read; where all of it is 0, nothing costs anything.
            weight: What is computed from it.
            blocks: Who owns what.
            scale: What a squared error of 1 counts in the loss.
        """
        self.scale = scale
        ridge = RIDGE * float(gram.diagonal().mean())
        self.weight = weight.clone()
        self.blocks = blocks
        self.alive = torch.ones(len(weight), dtype=torch.bool)
        self.dead = not ridge > 0
        if not self.dead:
            matrix = gram + ridge * torch.eye(len(gram), dtype=gram.dtype)
            self.inverse = torch.cholesky_inverse(torch.linalg.cholesky(matrix))

    def losses(self, units: Tensor) -> Tensor:
        """See `System`."""
        if self.dead:
            return torch.zeros(len(units), dtype=torch.float64)
        blocks = self.blocks[units]
        own = self.inverse[blocks[:, :, None], blocks[:, None, :]]
        weights = self.weight[blocks]
        errors: Tensor = (weights * torch.linalg.solve(own, weights)).sum(dim=(1, 2))
        return errors * self.scale

    def remove(self, units: Tensor) -> Tensor:
        """See `System`."""
        if self.dead:
            return torch.zeros(len(units), dtype=torch.float64)
        gone = self.blocks[units].reshape(-1)
        among = self.inverse[gone][:, gone]
        added = _one_by_one(among, self.weight[gone], len(units)) * self.scale
        columns = self.inverse[:, gone]
        share = torch.linalg.solve(among, columns.t())
        self.weight -= share.t() @ self.weight[gone]
        self.inverse -= columns @ share
        self.alive[gone] = False
        return added

    def shrink(self) -> None:
        """See `System`."""
        if self.dead:
            return
        self.weight = self.weight[self.alive]
        self.inverse = self.inverse[self.alive][:, self.alive]
        # Units that are gone point anywhere; nobody asks for them again.
        self.blocks = (self.alive.cumsum(0) - 1)[self.blocks]
        self.alive = self.alive[self.alive]


@final
class Uncorrelated:
    """No input makes up for another; for consumers with too many inputs for anything else."""

    def __init__(
        self,
        grams: Tensor,  # (units, k, k) float64
        weight: Tensor,  # (units, k, outputs) float64
        scale: float,
    ) -> None:
        """Nothing is removed yet; see `Correlated`."""
        self.values = (weight * (grams @ weight)).sum(dim=(1, 2)).clamp(min=0) * scale

    def losses(self, units: Tensor) -> Tensor:
        """See `System`."""
        return self.values[units]

    def remove(self, units: Tensor) -> Tensor:
        """See `System`."""
        return self.values[units]

    def shrink(self) -> None:
        """See `System`."""


def _one_by_one(
    inverse: Tensor,  # (n k, n k)
    weight: Tensor,  # (n k, outputs)
    count: int,
) -> Tensor:
    """The losses of n blocks, each after those before it; (n,).

    A Cholesky factor L of the blocks' part of the inverse does what the updates would do: the sum
    over blocks of |L^-1 W|^2 is the loss of all of them, and its parts are those of each.
    """
    factor = torch.linalg.cholesky(inverse)
    solved = torch.linalg.solve_triangular(factor, weight, upper=False)
    errors: Tensor = solved.square().reshape(count, -1).sum(dim=1)
    return errors


def removal_losses(systems: Sequence[System], count: int) -> Tensor:
    """Loss when a unit goes, with all that went before it; (count,) float64.

    The systems' errors reach the outputs together. How much of them cancels is not known, so the
    loss is the most that they can amount to, by the triangle inequality: the square of the sum of
    the roots of the systems' losses. Units go in the order of least loss; of equal ones those that
    come later go first.
    """
    losses = torch.zeros(count, dtype=torch.float64)
    left = torch.arange(count)
    whole = count
    totals = torch.zeros(len(systems), 1, dtype=torch.float64)
    while len(left):
        candidates = left.flip(0)
        values = _together(totals + _each(system.losses(candidates) for system in systems))
        chosen = candidates[values.argsort(stable=True)[: max(1, len(left) // _STEPS)]]
        reached = totals + _each(system.remove(chosen) for system in systems).cumsum(dim=1)
        losses[chosen] = _together(reached)
        totals = reached[:, -1:]
        left = left[~torch.isin(left, chosen)]
        if len(left) <= whole * 3 // 4 and len(left):
            whole = len(left)
            for system in systems:
                system.shrink()
    return losses


def _each(losses: Iterable[Tensor]) -> Tensor:
    """One row for each system; rounding makes no loss negative."""
    return torch.stack(list(losses)).clamp(min=0)


def _together(
    losses: Tensor,  # (systems, units)
) -> Tensor:
    return losses.sqrt().sum(dim=0).square()


def convex_slopes(
    losses: Tensor,  # (count,) float64, cumulative, of each unit when it goes
) -> Tensor:
    """Slope of the largest convex function below the losses, at each unit; (count,).

    Removing by one threshold on slopes per cost makes the smallest sum of such functions for its
    cost; losses that are not convex are reached only at the corners.
    """
    order = losses.argsort(stable=True)
    heights = [0.0, *losses[order].tolist()]
    corners = [0]
    for place in range(1, len(heights)):
        while len(corners) > 1 and _above(heights, corners[-2], corners[-1], place):
            corners.pop()
        corners.append(place)
    slopes = torch.zeros(len(losses), dtype=torch.float64)
    for start, end in pairwise(corners):
        slopes[order[start:end]] = (heights[end] - heights[start]) / (end - start)
    return slopes


def _above(heights: Sequence[float], first: int, middle: int, last: int) -> bool:
    """Whether the middle point lies on or above the line between the others."""
    return (heights[middle] - heights[first]) * (last - first) >= (
        heights[last] - heights[first]
    ) * (middle - first)
