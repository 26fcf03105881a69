"""A consumer's weights, scaled and measured once for all samples."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

SLACK = 9  # bounds of a sum give away this many times its rounding error


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Weights:
    """The weights of a consumer, or of some of its outputs, in float32.

    Shares do not change when an output's weights are scaled, so each output's are divided by their
    sum; that makes outputs alike, and bounds over all of them tighter.

    Attributes:
        plain: (I, J, *kernel), as they are, contiguous.
        copied: Whether these had to be copied.
        scale: (I,), one over the sum of an output's absolute weights, 0 where that is 0.
        absolute: (I, J, *kernel), scaled absolute weights, less `SLACK` rounding errors.
        offset: (2, I), to be added to the sums of either sign: what the bias adds to the layer's
            output is taken away, with its rounding error; infinite where an output has no
            weights of that sign. None if there is nothing to add.
        error: Largest relative rounding error of a sum of absolute products.
        signed: Whether inputs have both signs; then both sums mix weights of both signs.
    """

    plain: Tensor
    copied: bool
    scale: Tensor
    absolute: Tensor
    offset: Tensor | None
    error: float
    signed: bool

    @property
    def size(self) -> int:
        """Bytes that these tensors take beyond the model's own."""
        return 4 * ((1 + self.copied) * self.absolute.numel() + 3 * len(self.scale))


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Norms:
    """How large a unit's part of a sum can be, for activations of norm 1.

    Attributes:
        places: (U, k), positions of the units among the inputs.
        norms: (S, U, I), norm of the scaled weights from unit to output. S = 2, positive and
            negative weights, or 1 for both together where inputs have both signs.
        largest: (U,), their maximum over outputs and signs.
    """

    places: Tensor
    norms: Tensor
    largest: Tensor

    @property
    def size(self) -> int:
        """Bytes of these tensors."""
        return 4 * self.norms.numel()


def measured(
    weight: Tensor,  # (I, J, *kernel)
    bias: Tensor | None,  # (I,)
    *,
    signed: bool,
) -> Weights:
    """Prepare a consumer's weights."""
    plain = weight.detach().float().contiguous()
    absolute = plain.abs()
    sums = absolute.flatten(1).sum(dim=1)
    scale = torch.where(sums > 0, sums.reciprocal(), torch.zeros_like(sums))
    terms = plain[0].numel()
    # Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1, for the sum of the
    # products and for that of their absolute values; eight more for scaling and the like.
    error = (terms + 8) * torch.finfo(torch.float32).eps
    column = (-1,) + (1,) * (plain.ndim - 1)
    absolute.mul_((scale * (1 - SLACK * error)).view(column))
    return Weights(
        plain=plain,
        copied=plain.data_ptr() != weight.data_ptr(),
        scale=scale,
        absolute=absolute,
        offset=_offset(plain, scale, bias, error, signed),
        error=error,
        signed=signed,
    )


def norms_of(weights: Weights, places: Tensor) -> Norms:
    """Measure the weights from each unit to each output, in the L2 norm."""
    flat = weights.plain.flatten(2)
    if flat.shape[2] == places.shape[1] == 1:
        single = (flat[:, :, 0] * weights.scale[:, None]).t()[places[:, 0]]  # (U, I)
        norms = single.abs()[None] if weights.signed else torch.stack([single, -single]).clamp_(0)
        return Norms(places=places, norms=norms, largest=single.abs().amax(dim=1))
    halves = [flat] if weights.signed else [flat.clamp(min=0), (-flat).clamp_(min=0)]
    # Scaled before they are squared, which might leave the range of float32.
    scaled = [half * weights.scale[:, None, None] for half in halves]
    by_input = [half.norm(dim=2) for half in scaled]  # (I, J) each
    stacked = torch.stack(by_input).transpose(1, 2)  # (S, J, I)
    picked = stacked[:, places]  # (S, U, k, I)
    norms = picked.squeeze(2) if places.shape[1] == 1 else picked.norm(dim=2)
    norms = norms.contiguous()
    return Norms(
        places=places,
        norms=norms,
        largest=norms.amax(dim=2).amax(dim=0),
    )


def _offset(
    plain: Tensor, scale: Tensor, bias: Tensor | None, error: float, signed: bool
) -> Tensor | None:
    flat = plain.flatten(1)
    upper, lower = flat.amax(dim=1) > 0, flat.amin(dim=1) < 0
    present = torch.stack([upper | lower] * 2) if signed else torch.stack([upper, lower])
    if bias is None and bool(present.all()):
        return None
    shift = torch.zeros_like(scale) if bias is None else bias.detach().float() * scale
    lost = shift.abs() * error
    offset = torch.stack([-shift - lost, shift - lost])
    return offset.masked_fill_(~present, float("inf"))
