"""The definition of sensitivity, one output and position after the other; slow and obvious.

The kernels are tested against it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from prunella.ops import Contraction, PlainCall, plain_calls
from prunella.sensitivity.pieces import Piece, as_convolution, pieces
from prunella.sensitivity.shares import Reduction


def reference_sensitivities(
    call: Contraction,
    units: Tensor,  # (U, k) positions along the weight's input axis
    *,
    reduction: Reduction = "inner",
) -> Tensor:
    """Largest share of each unit in any sum of a call; (U,) float64. Source: see `kernels`."""
    best = [0.0] * len(units)
    for part in plain_calls(call):
        plain = as_convolution(part)
        for piece in pieces(plain, None, units=len(units), signed=True, memory=1 << 40):
            owned = [_owned(row.tolist(), part) for row in units]
            _raise_to_largest(best, piece, owned, reduction)
    return torch.tensor(best, dtype=torch.float64)


def _owned(unit: list[int], part: PlainCall) -> list[int]:
    """A unit's places among the inputs of a part."""
    return [place - part.first for place in unit if 0 <= place - part.first < part.size]


def _raise_to_largest(
    best: list[float], piece: Piece, owned: list[list[int]], reduction: Reduction
) -> None:
    seen = piece.seen.double().flatten(2 + len(piece.positions)).flatten(2, -2)  # (n, J, P, T)
    for sample in seen:
        for position in sample.unbind(1):  # (J, T)
            for kernel in piece.call.weight.detach().double().flatten(2):  # (J, T)
                for products in (kernel * position, -kernel * position):
                    added = products.clamp(min=0)  # those that make this sum larger
                    total = float(added.sum())
                    for unit, places in enumerate(owned):
                        if total > 0 and places:
                            own = added[places]
                            part = own.sum() if reduction == "inner" else own.max()
                            best[unit] = max(best[unit], float(part) / total)
