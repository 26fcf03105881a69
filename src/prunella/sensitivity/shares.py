"""The definition itself: a unit's share of a sum, in float64."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from prunella.sensitivity.pieces import Piece

Reduction = Literal["inner", "entry"]

LEAST = 1e-30  # shares below count as 0
_SOME = 1024  # shares evaluated in one go, at most: of many, most are of a unit that has reached 1


def largest_shares(
    piece: Piece,
    found: Tensor,  # (K, 5) sample, output, position, sign (0 or 1) and unit
    places: Tensor,  # (U, k)
    *,
    reduction: Reduction,
    elements: int,
) -> Tensor:
    """Largest share of each unit in the sums found for it; (U,) float64 on the CPU.

    A share does not depend by a bit on which other sums are evaluated with it.
    """
    call = piece.call
    seen, weight = piece.seen, call.weight.detach().flatten(2)
    best = torch.zeros(len(places), dtype=torch.float64)
    places = places.cpu()
    for some in found.split(max(1, min(elements // weight[0].numel(), _SOME))):
        some = some[best[some[:, 4].cpu()].to(some.device) < 1]  # no share is larger
        sums, row = torch.unique(some[:, :4], dim=0, return_inverse=True)
        sample, output, position, sign = sums.unbind(1)
        where = (sample, slice(None), *torch.unravel_index(position, piece.positions))
        window = seen[where].flatten(2).cpu().double()  # (K, J, T)
        products = weight[output].cpu().double().mul_(window)
        contributions = products.mul_((1 - 2 * sign.cpu())[:, None, None]).clamp_(min=0)
        by_input = contributions.sum(dim=2) if contributions.shape[2] > 1 else contributions[..., 0]
        owner, owned = some[:, 4].cpu(), row.cpu()[:, None]
        total = by_input.sum(dim=1)[owned[:, 0]]
        if reduction == "entry":
            by_input = contributions.amax(dim=2)
        picked = by_input[owned, places[owner]]  # (K, k)
        part = picked.sum(dim=1) if reduction == "inner" else picked.amax(dim=1)
        shares = torch.where(total > 0, part / total, torch.zeros_like(part))
        best.scatter_reduce_(0, owner, shares, "amax")
    return best
