"""The search where a unit owns many inputs of a matrix product: all parts at once.

A channel of a flattened map, or a head of an attention, owns a block of the weight's columns. Its
parts of all sums are a matrix product of that block, so that those of all units take twice the
operations of the layer itself; norms of so many entries would bound them loosely, and each share
that may count would be looked at by itself.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from prunella.sensitivity.consumers import SLACK, Weights
from prunella.sensitivity.pieces import Piece
from prunella.sensitivity.shares import LEAST
from prunella.sensitivity.sums import Sums

FROM = 16  # inputs that a unit owns; with fewer, the shares are too many for their products


def search(
    piece: Piece,  # of a matrix product
    weights: Weights,
    places: Tensor,  # (U, k)
    sums: Sums,
    best: Tensor,  # (U,) float32, shares that need not be found again
    *,
    elements: int,
) -> Tensor:
    """As `search.Search.run` with "inner": samples, outputs, positions, signs and units (K, 5)."""
    best = best.clone()
    lower = sums.lower[:, 0].flatten(1)  # (2, I * R)
    rows = sums.total.shape[2]
    # Of a unit's part, in parts of that of either sign together: twice the bound of `measured`.
    rounding = 2 * (places.shape[1] + 8) * torch.finfo(torch.float32).eps
    kept: list[tuple[Tensor, Tensor, Tensor]] = []  # units, shares at most, and sums
    for units, total, result in _parts(piece, weights, places, rounding, elements):
        for sign in range(2):
            most = total.add(result, alpha=1 - 2 * sign).div_(lower[sign])  # (u, I * R)
            hit = (most.amax(dim=1) >= best[units].clamp(min=LEAST)).nonzero()[:, 0]
            if len(hit) == 0:
                continue
            most, whole, unit = most[hit], total[hit], hit + units.start
            largest, where = most.max(dim=1)
            lost = 2 * rounding * whole.gather(1, where[:, None])[:, 0] / lower[sign, where]
            least = (largest - lost) * _share_left(sums, sign, where)
            best[unit] = torch.fmax(best[unit], least)
            row, spot = (most >= best[unit, None].clamp(min=LEAST)).nonzero().unbind(1)
            key = torch.stack([spot // rows, spot % rows, torch.full_like(spot, sign)])
            kept.append((unit[row], most[row, spot], key))
    if not kept:
        return torch.empty((0, 5), dtype=torch.long, device=best.device)
    unit, most, key = (torch.cat(parts, dim=-1) for parts in zip(*kept, strict=True))
    stays = most >= best[unit]
    output, position, sign_of = key[:, stays]
    sample = torch.zeros_like(output)
    return torch.stack([sample, output, position, sign_of, unit[stays]], dim=1)


def _parts(
    piece: Piece, weights: Weights, places: Tensor, rounding: float, elements: int
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Some units after the other: their scaled parts of |z|, at most, and of z; (u, I * R) each."""
    inputs = piece.call.inputs[0]  # (J, R)
    size = inputs.abs() if piece.signed else inputs
    plain, absolute = weights.plain[..., 0], weights.absolute[..., 0]  # (I, J)
    enlarged = (1 + rounding) / (1 - SLACK * weights.error)
    count = max(1, elements // (len(plain) * inputs.shape[1]))
    for first in range(0, len(places), count):
        units = slice(first, min(first + count, len(places)))
        owned = places[units]
        total = torch.bmm(_columns(absolute, owned), size[owned]).mul_(enlarged)
        result = torch.bmm(_columns(plain, owned), inputs[owned]).mul_(weights.scale[:, None])
        yield units, total.flatten(1), result.flatten(1)


def _share_left(sums: Sums, sign: int, where: Tensor) -> Tensor:
    """By what a share may be smaller than by the lower bound of its sum; for places (I * R)."""
    below = sums.lower[sign, 0].flatten()[where]
    above = below + sums.width * sums.total[0].flatten()[where]
    if sums.slop is not None:
        above = above + sums.slop[where // sums.total.shape[2]]
    return below / above


def _columns(
    weight: Tensor,  # (I, J)
    owned: Tensor,  # (u, k)
) -> Tensor:  # (u, I, k)
    """Columns of a weight, unit by unit; without a copy where they lie side by side."""
    count, many = owned.shape
    first = int(owned[0, 0])
    beside = torch.arange(first, first + count * many, device=owned.device)
    if torch.equal(owned.flatten(), beside):
        some = weight[:, first : first + count * many].view(len(weight), count, many)
    else:
        some = weight[:, owned]
    return some.transpose(0, 1)
