"""Relative errors of outputs."""

from __future__ import annotations

import torch
from torch import Tensor


def relative_errors(
    original: Tensor,  # (N, size) float64
    small: Tensor,  # (N, size) float64
) -> Tensor:  # (N,)
    """|small - original| / |original| in the L2 norm; 0 / 0 = 0 and x / 0 = infinity."""
    # scaled by the largest entry first: squares of very large or small outputs stay in range
    scale = torch.maximum(original.abs(), small.abs()).amax(dim=1, keepdim=True)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    gap = torch.linalg.vector_norm(small / scale - original / scale, dim=1)
    size = torch.linalg.vector_norm(original / scale, dim=1)
    return torch.where(gap > 0, gap / size, torch.zeros_like(gap))
