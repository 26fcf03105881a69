"""Finding the few sums in which a unit's share may beat the largest one known.

Nearly all shares are far below the maximum. A bound for all of them at once, from the norms of
weights and activations, leaves a few pairs of unit and position; each of these is looked at with
all outputs, and what still may beat the maximum is evaluated by the definition. Nothing that
could count is left out, so the result is exact.
"""

from __future__ import annotations

import torch
from torch import Tensor

from prunella.sensitivity.consumers import POWER, Norms, Weights
from prunella.sensitivity.pieces import Piece
from prunella.sensitivity.shares import Reduction
from prunella.sensitivity.sums import Sums

_MARGIN = 1e-3  # what rounding may take from the bounds from norms, generously
_ROUNDING = 1e-4  # the same for a single unit's part of a sum, and its share
_WORTH = 1 / 64  # of the pairs: from here on the matrix product of the tight bound pays


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
        self.activations = _activation_norms(piece, norms.places)  # (n, U, P)
        self.seen = piece.seen
        self.triples: list[tuple[Tensor, Tensor, Tensor]] = []

    def run(self) -> Tensor:
        """Samples, outputs and positions (K, 3) of the sums that must be evaluated."""
        excess, cells = self._loose()
        if cells > 4 * len(self.best):
            self._look_at_the_top(excess)
            excess, cells = self._loose()
        if cells > _WORTH * excess.numel():
            excess = self._tight(excess)
            self._look_at_the_top(excess)
        self._look_at_all(excess)
        return self._result()

    def _loose(self) -> tuple[Tensor, int]:
        """Bounds (1, n, U, P) relative to the best known, from the largest weight of each unit."""
        inverse = self.sums.lower.amin(dim=(0, 2)).reciprocal_()  # (n, P)
        excess = self.activations * inverse[:, None]
        excess.mul_((2 * self.norms.largest / self._limit)[:, None])
        return excess[None], int((excess > 1).sum())

    @property
    def _limit(self) -> Tensor:
        return self.best * (1 - _MARGIN)

    def _tight(self, loose: Tensor) -> Tensor:
        """Bounds (2, n, U, P) to the power `POWER`, from that norm over all outputs."""
        lower = self.sums.lower
        smallest = lower.amin(dim=(0, 2))  # (n, P)
        ratio = smallest[:, None] / lower  # at most 1, so that powers cannot overflow
        for _ in range(POWER.bit_length() - 1):
            ratio.mul_(ratio)
        signs, samples, outputs, _ = ratio.shape
        power = self.norms.power
        matrix = power[:, None].expand(len(power), samples, -1, -1)
        if len(power) != signs:
            matrix = matrix.expand(signs, -1, -1, -1)
        total = torch.matmul(matrix, ratio)
        # What is too small for float32, to the power, must not be lost.
        total.add_(outputs * 4 * torch.finfo(torch.float32).tiny)
        base = loose[0]
        for _ in range(POWER.bit_length() - 1):
            base = base * base
        return total.mul_(base)

    def _look_at_the_top(self, excess: Tensor) -> None:
        """Raise the thresholds by looking at each unit's most promising position."""
        units = excess.shape[2]
        values, where = excess.max(dim=3)  # (S, n, U)
        values, first = values.flatten(0, 1).max(dim=0)
        unit = torch.arange(units, device=first.device)
        active = values > 1
        position = where.flatten(0, 1)[first, unit]
        sign, sample = first // excess.shape[1], first % excess.shape[1]
        cells = torch.stack([sign, sample, unit, position], dim=1)[active]
        self._look_at(cells, both=len(excess) == 1)

    def _look_at_all(self, excess: Tensor) -> None:
        cells = (excess > 1).nonzero()
        self._look_at(cells, both=len(excess) == 1)

    def _look_at(self, cells: Tensor, *, both: bool) -> None:
        """Find the outputs that count for some (sign, sample, unit, position), (K, 4)."""
        count = max(1, self.elements // self.sums.lower.shape[2])
        for part in cells.split(count):
            for sign in (0, 1) if both else (None,):
                self._compare(part, sign)

    def _compare(self, cells: Tensor, one: int | None) -> None:
        sign, sample, unit, position = cells.unbind(1)
        if one is not None:
            sign = torch.full_like(sign, one)
        lower = self.sums.lower[sign, sample, :, position]  # (K, I)
        kind = sign if len(self.norms.norms) == 2 else torch.zeros_like(sign)
        factor = 2 * self.activations[sample, unit, position] / self._limit[unit]
        hits = self.norms.norms[kind, unit].mul_(factor[:, None]) > lower
        row, output = hits.nonzero().unbind(1)
        for rows, outputs in zip(
            row.split(self.elements), output.split(self.elements), strict=True
        ):
            self._weigh(sign[rows], sample[rows], unit[rows], position[rows], outputs)

    def _weigh(
        self, sign: Tensor, sample: Tensor, unit: Tensor, position: Tensor, output: Tensor
    ) -> None:
        """Bound single shares from both sides; all arguments (K,)."""
        places = self.norms.places[unit]  # (K, k)
        spot = torch.unravel_index(position, self.piece.positions)
        column = (slice(None), None)
        seen = self.seen[(sample[column], places, *(s[column] for s in spot))].flatten(1)
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
        key = torch.stack([sample, output, position], dim=1)
        self.triples.append((unit[stays], most[stays], key[stays]))

    def _result(self) -> Tensor:
        if not self.triples:
            return torch.empty((0, 3), dtype=torch.long, device=self.best.device)
        unit, most, key = (torch.cat(parts) for parts in zip(*self.triples, strict=True))
        stays = (most >= self.best[unit]) & (most > 0)
        return torch.unique(key[stays], dim=0)


def _activation_norms(piece: Piece, places: Tensor) -> Tensor:
    """L2 norm of what each unit's kernels see, (n, U, P)."""
    inputs, call = piece.call.inputs, piece.call
    alone = places.shape[1] == 1 and set(call.weight.shape[2:]) == {1}
    if alone:
        steps = (slice(None, None, step) for step in call.stride)
        seen = inputs[(slice(None), places[:, 0] if _gaps(places, inputs) else slice(None), *steps)]
        return (seen.abs() if piece.signed else seen).flatten(2)
    size = inputs.abs()
    # A square may be too small for float32 where its root is not.
    squares = _boxes(torch.addcmul(size * 1e-18, size, size), piece).flatten(2)
    if _gaps(places, inputs):
        squares = squares[:, places].sum(dim=2)
    return squares.sqrt_()


def _gaps(places: Tensor, inputs: Tensor) -> bool:
    """Whether units are anything but the inputs one by one."""
    if places.shape != (inputs.shape[1], 1):
        return True
    return not bool((places[:, 0] == torch.arange(len(places), device=places.device)).all())


def _boxes(values: Tensor, piece: Piece) -> Tensor:
    """Sum over the kernel at each output position, one axis after the other."""
    call = piece.call
    for axis, (count, taps) in enumerate(zip(piece.positions, call.weight.shape[2:], strict=True)):
        step, gap, place = call.stride[axis], call.dilation[axis], 2 + axis
        total = None
        for tap in range(taps):
            start = tap * gap
            index = [slice(None)] * values.ndim
            index[place] = slice(start, start + (count - 1) * step + 1, step)
            part = values[tuple(index)]
            total = part if total is None else total + part
        values = total if total is not None else values
    return values
