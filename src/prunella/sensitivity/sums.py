"""Bounds of a consumer's positive and negative sums, cheaper than the sums themselves.

With |z| = z+ + z- and z = z+ - z-, the layer's own output gives z and one more pass of the layer
with absolute weights and inputs gives |z|, whatever the signs: 2 z± = |z| ± z. Where nearly
everything cancels, rounding errors may be as large as the result; there the sums are computed by
their definition.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from prunella.sensitivity.consumers import SLACK, Weights
from prunella.sensitivity.pieces import Piece

_SINGLE = 2.0**-22  # more than is lost from float64 to float32


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Totals:
    """What the sums are bounded from, all of it twice over and scaled: see `Sums`.

    Attributes:
        total: (n, I, P), both signs together, less what rounding may have added.
        results: (n, I, P) what the layer gave, not scaled, with a bias or without.
        offset: (2, I), to be added to `total` ± scaled `results`, or None.
        width: `lower + width * total + slop` is not below the sums.
        slop: (I,) what rounding of a large bias can add, or None.
    """

    total: Tensor
    results: Tensor
    offset: Tensor | None
    width: float
    slop: Tensor | None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Sums:
    """Bounds of the scaled sums, twice over: 2 z± / (sum of the output's absolute weights).

    Attributes:
        lower: (2, n, I, P), not above the positive and the negative sums, positive; infinite
            where a sum is 0, which nothing has a share of.
        smallest: (n, P), the smallest of them at each position.
        total: (n, I, P), width and slop: as of `Totals`.
    """

    lower: Tensor
    smallest: Tensor
    total: Tensor
    width: float
    slop: Tensor | None


def totals(piece: Piece, weights: Weights) -> Totals:
    """One more pass of the layer, with absolute values."""
    inputs = piece.call.inputs
    total = piece.summed(weights.absolute, inputs.abs() if piece.signed else inputs)
    offset, slop = weights.offset, None
    if piece.results is None:
        results = piece.summed(weights.plain, inputs)
        offset = None  # no bias in there
    else:
        results = piece.results.flatten(2)
    if offset is not None:
        bias = 0 if piece.call.bias is None else piece.call.bias.detach().float().abs()
        slop = 2 * weights.error * bias * weights.scale
    return Totals(
        total=total,
        results=results,
        offset=offset,
        width=(SLACK + 1) * weights.error / max(1e-3, 1 - SLACK * weights.error),
        slop=slop,
    )


def bounded_sums(piece: Piece, weights: Weights, totals: Totals) -> Sums:
    """Bound all sums of a piece from below and above."""
    lower = _both(totals.total, totals.results, weights.scale)
    if totals.offset is not None:
        lower.add_(totals.offset[:, None, :, None])
    smallest = _smallest(lower)
    # Not "<= 0", which would be false for the NaN of an infinite output.
    doubtful = (~(smallest > 0)).nonzero()
    if len(doubtful):
        for spots, found in sums_by_definition(piece, weights, doubtful):
            sample, position = spots.unbind(1)
            lower[:, sample, :, position] = found.permute(2, 0, 1)
        smallest = _smallest(lower)
    return Sums(
        lower=lower,
        smallest=smallest,
        total=totals.total,
        width=totals.width,
        slop=totals.slop,
    )


def close_sums(piece: Piece, weights: Weights) -> Sums | None:
    """Bound all sums of a piece of a matrix product, in float64.

    With very many products the bounds from single precision are a few per cent wide, and all
    shares within that would have to be evaluated.

    Returns:
        None where these bounds are not positive either.
    """
    inputs = piece.call.inputs[0].double()  # (J, R)
    scaled = weights.plain.flatten(1).double().mul_(weights.scale[:, None])
    result = scaled @ inputs
    total = scaled.abs_() @ (inputs.abs_() if piece.signed else inputs)
    # As in `measured`; the last bits go when the bounds become float32.
    error = SLACK * (len(inputs) + 8) * torch.finfo(torch.float64).eps
    both = torch.stack([total + result, total - result]).sub_(total, alpha=error)
    lower = both.mul_(1 - _SINGLE).float()[:, None]
    smallest = _smallest(lower)
    if not bool((smallest > 0).all()):
        return None
    return Sums(
        lower=lower,
        smallest=smallest,
        total=total.float()[None],
        width=4 * _SINGLE + 2 * error,
        slop=None,
    )


def sums_by_definition(
    piece: Piece,
    weights: Weights,
    spots: Tensor,  # (K, 2) sample and position
) -> Iterator[tuple[Tensor, Tensor]]:
    """Some spots after the other, and their sums as in `Sums.lower`, (2, I, spots)."""
    flat = weights.plain.flatten(1) * (2 * weights.scale * (1 - 2 * weights.error))[:, None]
    plus, minus = flat.clamp(min=0), (-flat).clamp_(min=0)
    seen = piece.seen
    count = max(1, piece.call.inputs.numel() // plus.shape[1])  # no more than the inputs themselves
    for part in spots.split(count):
        sample, position = part.unbind(1)
        where = (sample, slice(None), *torch.unravel_index(position, piece.positions))
        columns = seen[where].flatten(1).t()
        up, down = columns.clamp(min=0), (-columns).clamp_(min=0)
        sums = torch.stack([plus @ up, minus @ up])
        if piece.signed:
            sums[0].addmm_(minus, down)
            sums[1].addmm_(plus, down)
        sums[sums == 0] = float("inf")
        yield part, sums


def _both(total: Tensor, results: Tensor, scale: Tensor) -> Tensor:
    lower = total.new_empty((2, *total.shape))
    column = scale[:, None]
    torch.addcmul(total, column, results, out=lower[0])
    torch.addcmul(total, column, results, value=-1, out=lower[1])
    return lower


def _smallest(lower: Tensor) -> Tensor:
    # Both axes at once would be many times slower.
    return torch.minimum(lower[0], lower[1]).amin(dim=1)
