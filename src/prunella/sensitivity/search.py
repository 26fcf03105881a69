"""Finding the few sums in which a unit's share may beat the largest one known.

Nearly all shares are far below the maximum. A bound for all of them at once, from the norms of
weights and activations, leaves a few pairs of unit and position; each of these is looked at with
all outputs, and what still may beat the maximum is evaluated by the definition. Nothing that
could count is left out, so the result is exact.
"""

from __future__ import annotations

import torch
from torch import Tensor

from prunella.sensitivity.consumers import Norms, Weights
from prunella.sensitivity.norms import activation_norms
from prunella.sensitivity.pieces import Piece
from prunella.sensitivity.shares import LEAST, Reduction
from prunella.sensitivity.sums import Sums

_POWER = 16  # of the norm over outputs that stands in for their maximum
_MARGIN = 1e-3  # what rounding may take from the bounds from norms, generously
_ROUNDING = 1e-4  # the same for a single unit's part of a sum, and its share


class Search:
    """One search: the units of one group in one piece. Thresholds rise as it goes on."""

    def __init__(
        self,
        piece: Piece,
        weights: Weights,
        norms: Norms,
        sums: Sums,
        best: Tensor,  # (U,) float32, shares that need not be found again
        *,
        reduction: Reduction,
        elements: int,
    ) -> None:
        self.piece = piece
        self.weights = weights
        self.norms = norms
        self.sums = sums
        self.best = best.clone()
        self.reduction = reduction
        self.elements = elements
        self.activations = activation_norms(piece, norms.places)  # (n, U, P)
        self.seen = piece.seen
        self.columns: Tensor | None = None
        self.triples: list[tuple[Tensor, Tensor, Tensor]] = []

    def run(self) -> Tensor:
        """Samples, outputs, positions, signs and units (K, 5) of shares to be evaluated."""
        # A and 1/z of a position: the bound of any share in it, but for the weights.
        loose = self.activations * self.sums.smallest.reciprocal()[:, None]  # (n, U, P)
        if bool((self.best == 0).any()):
            self._look_at_the_top(loose)
        limit = self._limit
        excess = loose.mul_((2 * self.norms.largest / limit)[:, None])[None]
        cells = _above_one(excess)
        outputs = self.sums.lower.shape[2]
        # In nanoseconds, roughly: looking at a cell's outputs, and the tighter bound of a cell.
        if len(cells) * outputs * 8 > excess.numel() * (5 + outputs / 20):
            excess = self._tight(excess[0])
            cells = _above_one(excess)
        self._look_at_all(cells, excess[tuple(cells.unbind(1))], limit, len(excess) == 1)
        return self._result()

    @property
    def _limit(self) -> Tensor:
        # Not 0, so that what an idle unit sees stays 0 and not NaN.
        return (self.best * (1 - _MARGIN)).clamp_(min=LEAST)

    def _tight(self, loose: Tensor) -> Tensor:
        """Bounds (2, n, U, P) to the power `_POWER`, from that norm over all outputs."""
        # At most 1, so that powers cannot overflow.
        ratio = self.sums.smallest.clamp(max=3e38)[:, None] / self.sums.lower
        for _ in range(_POWER.bit_length() - 1):
            ratio.mul_(ratio)
        signs, samples, outputs, _ = ratio.shape
        largest = self.norms.largest
        safe = torch.where(largest > 0, largest, torch.ones_like(largest))
        power = (self.norms.norms / safe[:, None]).pow_(_POWER)
        matrix = power[:, None].expand(len(power), samples, -1, -1)
        if len(power) != signs:
            matrix = matrix.expand(signs, -1, -1, -1)
        total = torch.matmul(matrix, ratio)
        # What is too small for float32, to the power, must not be lost.
        total.add_(outputs * 4 * torch.finfo(torch.float32).tiny)
        base = loose.clone()
        for _ in range(_POWER.bit_length() - 1):
            base.mul_(base)
        return total.mul_(base)

    def _look_at_the_top(self, loose: Tensor) -> None:
        """Raise the thresholds of new units by looking at their most promising position."""
        values, where = loose.max(dim=2)  # (n, U)
        values, sample = values.max(dim=0)
        unit = torch.arange(len(sample), device=sample.device)
        position = where[sample, unit]
        cells = torch.stack([torch.zeros_like(unit), sample, unit, position], dim=1)
        new = (self.best == 0) & (values > 0) & (self.norms.largest > 0)
        self._compare(_with_both_signs(cells[new]))

    def _look_at_all(self, cells: Tensor, excess: Tensor, limit: Tensor, both: bool) -> None:
        """Look at cells (K, 4) of sign, sample, unit and position, the most promising first.

        Args:
            cells: With a bound above the limit.
            excess: (K,), the bound, over the limit or to the power `_POWER`.
            limit: (U,), which the bounds are over.
            both: Whether bounds are for both signs, and not to the power.
        """
        if len(cells) > self.sums.smallest.numel():
            self.columns = self.sums.lower.transpose(2, 3).contiguous()
        exponent = 1 if both else _POWER
        count = max(1, self.elements // (self.sums.lower.shape[2] * (2 if both else 1)))
        first = 4 * len(self.best)
        if len(cells) > 2 * first:
            top = torch.topk(excess, first, sorted=False).indices
            for part in cells[top].split(count):
                self._compare(_with_both_signs(part) if both else part)
            excess[top] = 0
        start = 0
        while start < len(cells):
            part, over = cells[start : start + count], excess[start : start + count]
            fall = (limit / self._limit)[part[:, 2]]  # limits may have risen since
            # Not "> 1", which would be false where a bound is infinite and its fall rounds to 0.
            part = part[~(over * fall**exponent <= 1)]
            self._compare(_with_both_signs(part) if both else part)
            start += count

    def _compare(self, cells: Tensor) -> None:
        """Find the outputs that count for some cells (K, 4)."""
        if len(cells) == 0:
            return
        sign, sample, unit, position = cells.unbind(1)
        if self.columns is None:
            lower = self.sums.lower[sign, sample, :, position]  # (K, I)
        else:
            lower = self.columns[sign, sample, position]
        kind = sign if len(self.norms.norms) == 2 else torch.zeros_like(sign)
        ratio = self.norms.norms[kind, unit].div_(lower)
        ratio.mul_((2 * self.activations[sample, unit, position])[:, None])
        most, output = ratio.max(dim=1)
        hit = (most > self._limit[unit]).nonzero().reshape(-1)
        self._weigh(*(part[hit] for part in (sign, sample, unit, position, output)))
        ratio[torch.arange(len(cells), device=hit.device), output] = 0  # done
        ratio = ratio[hit]
        row, output = (ratio > self._limit[unit[hit]][:, None]).nonzero().unbind(1)
        row = hit[row]
        taps = self.norms.places.shape[1] * self.weights.plain[0, 0].numel()
        count = max(1, self.elements // taps)
        for rows, outputs in zip(row.split(count), output.split(count), strict=True):
            self._weigh(sign[rows], sample[rows], unit[rows], position[rows], outputs)
        if sum(len(part) for part, _, _ in self.triples) > self.elements // 4:
            self.triples = [self._unbeaten()]

    def _weigh(
        self, sign: Tensor, sample: Tensor, unit: Tensor, position: Tensor, output: Tensor
    ) -> None:
        """Bound single shares from both sides; all arguments (K,)."""
        if len(sign) == 0:
            return
        places = self.norms.places[unit]  # (K, k)
        spot = torch.unravel_index(position, self.piece.positions)
        column = (slice(None), None)
        where = (sample[column], places, *(axis[column] for axis in spot))
        seen = self.seen[where].flatten(1)
        weight = self.weights.plain[output[column], places].flatten(1)
        products = (weight * seen).mul_((1 - 2 * sign)[:, None]).clamp_(min=0)
        part = products.sum(dim=1) if self.reduction == "inner" else products.amax(dim=1)
        part.mul_(2 * self.weights.scale[output])
        below = self.sums.lower[sign, sample, output, position]
        above = below + self.sums.width * self.sums.total[sample, output, position]
        if self.sums.slop is not None:
            above += self.sums.slop[output]
        least = part / above * (1 - _ROUNDING)
        most = part / below * (1 + _ROUNDING)
        self.best.scatter_reduce_(0, unit, least, "amax")
        stays = most >= self.best[unit]
        key = torch.stack([sample, output, position, sign], dim=1)
        self.triples.append((unit[stays], most[stays], key[stays]))

    def _unbeaten(self) -> tuple[Tensor, Tensor, Tensor]:
        """Units, shares and sums of what may still be the largest."""
        unit, most, key = (torch.cat(parts) for parts in zip(*self.triples, strict=True))
        stays = (most >= self.best[unit]) & (most > 0)
        return unit[stays], most[stays], key[stays]

    def _result(self) -> Tensor:
        if not self.triples:
            return torch.empty((0, 5), dtype=torch.long, device=self.best.device)
        unit, _, key = self._unbeaten()
        return torch.cat([key, unit[:, None]], dim=1)


def _above_one(excess: Tensor) -> Tensor:
    """Where (S, n, U, P) values are above 1, (K, 4); in rows first, because most have none."""
    rows = (excess.amax(dim=3) > 1).nonzero()
    inside = (excess[tuple(rows.unbind(1))] > 1).nonzero()
    return torch.cat([rows[inside[:, 0]], inside[:, 1:]], dim=1)


def _with_both_signs(cells: Tensor) -> Tensor:
    other = cells.clone()
    other[:, 0] = 1
    return torch.cat([cells, other])
