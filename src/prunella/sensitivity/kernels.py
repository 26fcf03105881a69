"""The exact sensitivity of the channels of one consumer on one batch.

For sample x, output i, position p and unit j, with W = W+ - W- and a = a+ - a- (all parts >= 0),

    c+_ijp = <W+_ij, a+_jp> + <W-_ij, a-_jp>        c-_ijp = <W+_ij, a-_jp> + <W-_ij, a+_jp>
    z+_ip  = sum_j c+_ijp                           z-_ip  = sum_j c-_ijp
    s_j    = max over x, i, p and sign of  c_ijp / z_ip,   0 / 0 = 0.

The inner products run over the kernel and over all positions that a unit owns (several for a
flattened map). Source: Liebenwein et al., ICLR 2020, Definition 1; the two sums instead of four
quadrants are derived in docs/theory/sensitivity.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from prunella.ops import Contraction, PlainCall, plain_calls, windows

_CACHE_ELEMENTS = 1 << 18  # products held at once: 1 MiB of float32 stays in a core's cache
_PATCH_ELEMENTS = 1 << 25  # unfolded inputs held at once: 128 MiB of float32


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Patches:
    """A consumer as one matrix product.

    Attributes:
        weight: (outputs, channels, taps).
        inputs: (channels, taps, columns): a column for each sample and output position.
    """

    weight: Tensor
    inputs: Tensor


def unit_sensitivities(
    call: Contraction,
    units: Tensor,  # (U, k) positions along the weight's input axis
) -> Tensor:
    """Largest relative contribution of each unit within this call; shape (U,), in [0, 1].

    Computed in float32 whatever the type of the model. Memory is bounded: samples are unfolded a
    few at a time and products are formed block by block.
    """
    best = torch.zeros(len(units), device=call.inputs.device)
    units = units.to(best.device)
    for part in plain_calls(call):
        read, places = _places(units, part)
        for patches in _unfolded(part.call) if len(read) else ():
            shares = _largest_shares(patches, places)
            best[read] = torch.maximum(best[read], shares)
    return best


def _places(units: Tensor, part: PlainCall) -> tuple[Tensor, Tensor]:
    """Which units a part of a call reads, (read,), and their places among its inputs, (read, k)."""
    places = units - part.first
    inside = (places >= 0) & (places < part.size)
    counts = inside.sum(dim=1)
    read = counts.nonzero().reshape(-1)
    if len(read) == 0:
        return read, places[:0]
    # Units of one group own equally many positions of every part that reads them.
    return read, places[read][inside[read]].reshape(len(read), -1)


def sums_per_sample(call: Contraction, samples: int) -> int:
    """Number of (output, position, sign) sums the consumer forms for one of `samples` samples."""
    if call.spatial == 0:
        return 2 * call.weight.shape[1] * max(1, len(call.inputs) // samples)
    parts = [part.call for part in plain_calls(call)]
    return sum(2 * part.weight.shape[0] * _positions(part) for part in parts)


def _positions(call: Contraction) -> int:
    return math.prod(
        (size + 2 * pad - gap * (kernel - 1) - 1) // step + 1
        for size, pad, gap, kernel, step in zip(
            call.inputs.shape[2:],
            call.padding,
            call.dilation,
            call.weight.shape[2:],
            call.stride,
            strict=True,
        )
    )


def _unfolded(call: Contraction) -> list[_Patches]:
    """The call as matrix products, cut along the samples so that each fits in memory."""
    inputs = call.inputs.detach().float()
    weight = call.weight.detach().float()
    if call.spatial == 0:
        matrix = _Patches(weight=weight.t().unsqueeze(2), inputs=inputs.t().unsqueeze(1))
        return [matrix]
    flat = weight.flatten(2)
    taps = flat.shape[2]
    per_sample = max(1, _positions(call) * taps * weight.shape[1])
    chunk = max(1, _PATCH_ELEMENTS // per_sample)
    return [_Patches(weight=flat, inputs=_columns(part, call)) for part in inputs.split(chunk)]


def _columns(inputs: Tensor, call: Contraction) -> Tensor:
    """What each kernel entry sees: (N, C, *spatial) -> (C, taps, N * positions)."""
    seen = windows(inputs, call)
    count = call.spatial
    order = [1, *range(2 + count, 2 + 2 * count), 0, *range(2, 2 + count)]
    moved = seen.permute(*order)
    return moved.reshape(inputs.shape[1], math.prod(call.weight.shape[2:]), -1)


def _largest_shares(patches: _Patches, units: Tensor) -> Tensor:
    """Max over outputs, columns and signs of each unit's share; shape (U,)."""
    weight, inputs = _signed(patches)
    rows, channels, taps = weight.shape
    columns = inputs.shape[2]
    flat_weight = weight.reshape(rows, -1)
    inverse = _inverse_sums(flat_weight, inputs.reshape(channels * taps, columns))
    # One unit's taps: its k positions times the kernel.
    by_unit = weight[:, units].permute(1, 0, 2, 3).reshape(len(units), rows, -1)
    width = max(1, min(columns, _CACHE_ELEMENTS // rows))
    height = max(1, _CACHE_ELEMENTS // (rows * width))
    best = torch.zeros(len(units), device=weight.device)
    for start in range(0, len(units), height):
        block = slice(start, start + height)
        seen = inputs[units[block]].reshape(len(by_unit[block]), -1, columns)
        for first in range(0, columns, width):
            part = slice(first, first + width)
            products = torch.bmm(by_unit[block], seen[:, :, part])
            products.mul_(inverse[:, part])
            best[block] = torch.maximum(best[block], products.amax(dim=(1, 2)))
    # Rounding may carry a lone channel's share a hair above 1.
    return best.clamp_(max=1.0)


def _signed(patches: _Patches) -> tuple[Tensor, Tensor]:
    """Split signs so that every product is >= 0; rows are the sums z+, then z-."""
    weight, inputs = patches.weight, patches.inputs
    plus, minus = weight.clamp(min=0), (-weight).clamp(min=0)
    if bool((inputs >= 0).all()):
        return torch.cat([plus, minus]), inputs
    upper = torch.cat([plus, minus], dim=2)
    lower = torch.cat([minus, plus], dim=2)
    signed = torch.cat([inputs.clamp(min=0), (-inputs).clamp(min=0)], dim=1)
    return torch.cat([upper, lower]), signed


def _inverse_sums(weight: Tensor, inputs: Tensor) -> Tensor:
    """1 / z for each row and column, 0 where z = 0."""
    sums = weight @ inputs
    return torch.where(sums > 0, sums.reciprocal(), torch.zeros_like(sums))
