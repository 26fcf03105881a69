"""Cutting a consumer's work into pieces that fit in memory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from prunella.ops import Contraction, PlainCall, windows

_SMALL = 1 << 26  # bytes of one piece; larger ones are slower to get from the system
_LEAN = 1 << 27  # and where most of them are never made


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Piece:
    """Some samples, outputs and output positions of one consumer.

    Attributes:
        call: A convolution without padding, groups or transposition, in float32; its inputs,
            (n, J, *spatial), are already padded and its weight is (I, J, *kernel).
        results: (n, I, *positions) what the layer gave, bias included, or None if unknown.
        signed: Whether inputs have both signs.
        rows: Which outputs of the consumer these are, as (first, last + 1).
    """

    call: Contraction
    results: Tensor | None
    signed: bool
    rows: tuple[int, int]

    @property
    def positions(self) -> tuple[int, ...]:
        """Output positions along each spatial axis."""
        return output_positions(self.call)

    @property
    def seen(self) -> Tensor:
        """(n, J, *positions, *kernel): what the kernel sees at each position, a view."""
        return self.windows_of(self.call.inputs)

    def windows_of(self, inputs: Tensor) -> Tensor:
        """The same for other inputs (n, C, *spatial)."""
        return windows(inputs, self.call)

    def summed(self, weight: Tensor, inputs: Tensor) -> Tensor:
        """The layer's sums with other weights and inputs of the same shapes: (n, I, P)."""
        call = self.call
        if math.prod(weight.shape[2:]) == 1 and set(call.stride) == {1}:
            matrix = weight.flatten(1).expand(len(inputs), -1, -1)
            return torch.bmm(matrix, inputs.flatten(2))
        apply = (F.conv1d, F.conv2d, F.conv3d)[call.spatial - 1]
        found = apply(inputs, weight, stride=call.stride, dilation=call.dilation)
        return found.flatten(2)


def output_positions(call: Contraction) -> tuple[int, ...]:
    """Number of output positions along each spatial axis of an ordinary convolution."""
    return tuple(
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


def as_convolution(part: PlainCall) -> Contraction:
    """A matrix product as a convolution of one sample whose positions are the rows."""
    call = part.call
    if call.spatial:
        return call
    return replace(
        call,
        weight=call.weight.t().unsqueeze(2),
        inputs=call.inputs.t().unsqueeze(0),
        spatial=1,
        stride=(1,),
        padding=(0,),
        dilation=(1,),
        output_padding=(0,),
    )


def pieces(
    call: Contraction,  # from `as_convolution`
    results: Tensor | None,  # (N, I, *positions)
    *,
    units: int,
    signed: bool,
    memory: int,
    lean: bool = False,
) -> Iterator[Piece]:
    """Cut a call so that no piece's own tensors take more than a third of `memory` bytes.

    Compiled code is `lean`: it has no tensors but the sums and, of some layers, the activations.

    Outputs are cut where the weights alone are too large, then samples, then positions along the
    first spatial axis. Pieces much smaller than that are made where the cache gains from it.
    """
    outputs, channels = call.weight.shape[:2]
    taps = math.prod(call.weight.shape[2:])
    # Weights take up to sixteen tensors of their own size: absolute values, norms, their order.
    height = max(1, min(outputs, memory // (3 * 64 * channels * taps)))
    spots = output_positions(call)
    if lean:
        # Inputs with zeros around, without signs, and their norms, where they are not as they were.
        same = taps == 1 and not signed and not any(call.padding)
        inputs = -(-call.inputs[0, 0].numel() // math.prod(spots)) * channels
        spot = 4 * (3 * height + (units if same else 3 * (inputs + units)))
    else:
        # Sums, bounds and their powers: six for each output, eight for each input and unit.
        spot = 4 * (6 * height + 8 * (channels + units))
    sample = spot * math.prod(spots)
    budget = min(memory // 3, max(_LEAN if lean else _SMALL, sample))
    count = max(1, min(len(call.inputs), budget // sample))
    lines = max(1, min(spots[0], budget // (sample // spots[0]))) if count == 1 else spots[0]
    for top in range(0, outputs, height):
        rows = (top, min(top + height, outputs))
        for first in range(0, len(call.inputs), count):
            for line in range(0, spots[0], lines):
                area = slice(first, first + count), (line, min(line + lines, spots[0]))
                yield _piece(call, results, rows, *area, signed=signed)


def _piece(
    call: Contraction,
    results: Tensor | None,
    rows: tuple[int, int],
    samples: slice,
    lines: tuple[int, int],
    *,
    signed: bool,
) -> Piece:
    step, gap, kernel = call.stride[0], call.dilation[0], call.weight.shape[2]
    low = lines[0] * step - call.padding[0]
    size = call.inputs.shape[2]
    # What is left over at the end is not cut off from all inputs, which would be a copy.
    high = (lines[1] - 1) * step + gap * (kernel - 1) + 1 - call.padding[0]
    if lines[1] == output_positions(call)[0]:
        high = size + call.padding[0]
    start = min(max(low, 0), size)
    inputs = call.inputs[samples].narrow(2, start, max(0, min(high, size) - start)).float()
    # What lies outside of the inputs is padding, on this axis as on the others.
    ends = (max(0, min(-low, high - low)), max(0, min(high - size, high - low)))
    others = [(pad, pad) for pad in call.padding[1:]]
    pads = [amount for pair in reversed([ends, *others]) for amount in pair]
    inside = replace(
        call,
        inputs=F.pad(inputs.detach(), pads) if any(pads) else inputs.detach(),
        weight=call.weight[slice(*rows)],
        bias=None if call.bias is None else call.bias.expand(len(call.weight))[slice(*rows)],
        padding=(0,) * call.spatial,
    )
    known = None if results is None else results[samples, slice(*rows)]
    if known is not None:
        known = known.narrow(2, lines[0], lines[1] - lines[0])
    return Piece(call=inside, results=known, signed=signed, rows=rows)
