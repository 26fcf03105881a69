"""The definition itself: every unit's share of some sums, in float64."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from prunella.sensitivity.pieces import Piece

Reduction = Literal["inner", "entry"]


def largest_shares(
    piece: Piece,
    sums: Tensor,  # (K, 3) sample, output and position
    places: Tensor,  # (U, k)
    *,
    reduction: Reduction,
    elements: int,
) -> Tensor:
    """Largest share of each unit in some sums, both signs of each; (U,) float64 on the CPU.

    A share does not depend by a bit on which other sums are evaluated with it.
    """
    call = piece.call
    seen, weight = piece.seen, call.weight.detach().flatten(2)
    best = torch.zeros(len(places), dtype=torch.float64)
    count = max(1, elements // weight[0].numel())
    for part in sums.split(count):
        sample, output, position = part.unbind(1)
        where = (sample, slice(None), *torch.unravel_index(position, piece.positions))
        window = seen[where].flatten(2).cpu().double()  # (K, J, T)
        products = weight[output].cpu().double().mul_(window)
        for contributions in (products.clamp(min=0), products.neg_().clamp_(min=0)):
            by_input = contributions.sum(dim=2)
            total = by_input.sum(dim=1, keepdim=True)
            if reduction == "entry":
                by_input = contributions.amax(dim=2)
            units = _units(by_input, places.cpu(), reduction)
            shares = torch.where(total > 0, units / total, torch.zeros_like(units))
            best = torch.maximum(best, shares.amax(dim=0))
    return best


def _units(by_input: Tensor, places: Tensor, reduction: Reduction) -> Tensor:
    """(K, J) to (K, U)."""
    picked = by_input[:, places]
    return picked.sum(dim=2) if reduction == "inner" else picked.amax(dim=2)
