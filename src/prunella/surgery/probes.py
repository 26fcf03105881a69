"""Inputs on which two networks are compared, and by how much their outputs differ."""

from __future__ import annotations

import torch
from torch import Tensor

from prunella.core.inputs import Inputs


def probe(inputs: Inputs, device: torch.device, generator: torch.Generator) -> Inputs:
    """Random inputs of the same shapes and types."""

    def randomised(leaf: Tensor) -> Tensor:
        if not leaf.dtype.is_floating_point:
            # Token numbers and masks: only the example's are known to be valid.
            return leaf.to(device)
        noise = torch.randn(leaf.shape, generator=generator)
        return noise.to(device=device, dtype=leaf.dtype)

    return inputs.map(randomised)


def relative_difference(found: list[Tensor], expected: list[Tensor]) -> float:
    """Largest absolute difference divided by the largest absolute value of the expected outputs.

    Of outputs without any fractional number, such as classes, the share of those that differ; NaN
    if they hold no number at all, as those of a detector that finds nothing.
    """
    if [t.shape for t in found] != [t.shape for t in expected]:
        return float("inf")
    pairs = [(_real(a), _real(b)) for a, b in zip(found, expected, strict=True) if b.numel()]
    fractional = [(a, b) for a, b in pairs if b.dtype.is_floating_point]
    if not fractional:
        return _share_of_differing(pairs)
    worst = scale = 0.0
    blind = True
    for a, b in fractional:
        a, b = a.double(), b.double()
        # Random inputs may lie where the model itself has no finite output.
        alike = (a == b) | (a.isnan() & b.isnan())
        apart = (a - b).abs().nan_to_num(torch.inf, posinf=torch.inf).masked_fill(alike, 0)
        worst = max(worst, float(apart.max()))
        scale = max(scale, float(b.abs().masked_fill(~b.isfinite(), 0).max()))
        blind = blind and not bool(b.isfinite().any())
    if blind:
        return float("inf")  # nothing was compared
    return worst / scale if scale > 0 else worst


def _real(values: Tensor) -> Tensor:
    return torch.view_as_real(values.resolve_conj()) if values.is_complex() else values


def _share_of_differing(pairs: list[tuple[Tensor, Tensor]]) -> float:
    total = sum(b.numel() for _, b in pairs)
    return sum(int((a != b).sum()) for a, b in pairs) / total if total else float("nan")
