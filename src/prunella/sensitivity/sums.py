"""Bounds of a consumer's positive and negative sums, cheaper than the sums themselves.

With |z| = z+ + z- and z = z+ - z-, the layer's own output gives z and one more pass of the layer
with absolute weights and inputs gives |z|, whatever the signs: 2 z± = |z| ± z. Where nearly
everything cancels, rounding errors may be as large as the result; there the sums are computed by
their definition.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from prunella.sensitivity.consumers import SLACK, Weights
from prunella.sensitivity.pieces import Piece


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Sums:
    """Bounds of the scaled sums, twice over: 2 z± / (sum of the output's absolute weights).

    Attributes:
        lower: (2, n, I, P), not above the positive and the negative sums, positive; infinite
            where a sum is 0, which nothing has a share of.
        smallest: (n, P), the smallest of them at each position.
        total: (n, I, P), both signs together; `lower + width * total + slop` is not below the sums.
        width: See `total`.
        slop: (I,) what rounding of a large bias can add, or None.
    """

    lower: Tensor
    smallest: Tensor
    total: Tensor
    width: float
    slop: Tensor | None


def bounded_sums(piece: Piece, weights: Weights) -> Sums:
    """Bound all sums of a piece from below and above."""
    inputs = piece.call.inputs
    total = piece.summed(weights.absolute, inputs.abs() if piece.signed else inputs)
    offset = weights.offset
    if piece.results is None:
        results = piece.summed(weights.plain, inputs)
        offset = None  # no bias in there
    else:
        results = piece.results.flatten(2)
    lower = _both(total, results, weights.scale)
    if offset is not None:
        lower.add_(offset[:, None, :, None])
    # Not "<= 0", which would be false for the NaN of an infinite output.
    smallest = _smallest(lower)
    doubtful = (~(smallest > 0)).nonzero()
    if len(doubtful):
        _compute(piece, weights, lower, doubtful)
        smallest = _smallest(lower)
    slop = None
    if offset is not None:
        bias = 0 if piece.call.bias is None else piece.call.bias.detach().float().abs()
        slop = 2 * weights.error * bias * weights.scale
    return Sums(
        lower=lower,
        smallest=smallest,
        total=total,
        width=(SLACK + 1) * weights.error / max(1e-3, 1 - SLACK * weights.error),
        slop=slop,
    )


def _both(total: Tensor, results: Tensor, scale: Tensor) -> Tensor:
    lower = total.new_empty((2, *total.shape))
    column = scale[:, None]
    torch.addcmul(total, column, results, out=lower[0])
    torch.addcmul(total, column, results, value=-1, out=lower[1])
    return lower


def _smallest(lower: Tensor) -> Tensor:
    # Both axes at once would be many times slower.
    return torch.minimum(lower[0], lower[1]).amin(dim=1)


def _compute(piece: Piece, weights: Weights, lower: Tensor, spots: Tensor) -> None:
    """Put sums by their definition at some positions, (K, 2) of sample and position."""
    flat = weights.plain.flatten(1) * (2 * weights.scale * (1 - 2 * weights.error))[:, None]
    plus, minus = flat.clamp(min=0).t(), (-flat).clamp_(min=0).t()
    seen = piece.seen
    count = max(1, piece.call.inputs.numel() // len(plus))  # no more than the inputs themselves
    for part in spots.split(count):
        sample, position = part.unbind(1)
        where = (sample, slice(None), *torch.unravel_index(position, piece.positions))
        rows = seen[where].flatten(1)
        up, down = rows.clamp(min=0), (-rows).clamp_(min=0)
        for sign, (one, other) in enumerate(((plus, minus), (minus, plus))):
            found = up @ one
            if piece.signed:
                found.addmm_(down, other)
            found[found == 0] = float("inf")
            lower[sign, sample, :, position] = found
