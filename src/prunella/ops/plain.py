"""Any convolution or matrix product as ordinary convolutions, one for each of its groups."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from prunella.ops.contractions import Contraction


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class PlainCall:
    """One group of a call, with one kernel for each output and a plain sum over its inputs.

    Attributes:
        call: groups = 1 and not transposed; the weight is (outputs, inputs, *kernel), or
            (inputs, outputs) for a matrix product.
        first: Position on the stored weight's input axis of the first input.
        size: Number of inputs.
        number: Which of the call's groups this is.
    """

    call: Contraction
    first: int
    size: int
    number: int


def plain_calls(call: Contraction) -> tuple[PlainCall, ...]:
    """The groups of a call as ordinary convolutions; together they compute the same sums.

    A transposed convolution spreads its inputs out by the stride and slides the reversed kernel
    over them; source: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning",
    2016, section 4.
    """
    start = call.view.starts[call.view.axes.index(call.in_axis)]
    if call.spatial == 0:
        return (PlainCall(call=call, first=start, size=call.weight.shape[0], number=0),)
    axis = call.channel_axis
    blocks = call.inputs.chunk(call.groups, axis)
    found = []
    outputs = call.weight.shape[1] if call.transposed else len(call.weight) // call.groups
    for number, block in enumerate(blocks):
        rows = slice(number * outputs, (number + 1) * outputs)
        bias = None if call.bias is None else call.bias[rows]
        width = block.shape[axis]
        if call.transposed:
            first = start + number * width
            own = call.weight[number * width : (number + 1) * width]
            plain = replace(_untransposed(call, block, own), bias=bias)
        else:
            first = start
            plain = replace(call, inputs=block, weight=call.weight[rows], bias=bias, groups=1)
        found.append(PlainCall(call=plain, first=first, size=width, number=number))
    return tuple(found)


def _untransposed(call: Contraction, inputs: Tensor, weight: Tensor) -> Contraction:
    """weight: (inputs, outputs, *kernel)."""
    axes = list(range(2, weight.ndim))
    kernel = weight.transpose(0, 1).flip(axes)
    spread = _spread_out(inputs, call)
    ones = (1,) * call.spatial
    return replace(
        call,
        inputs=spread,
        weight=kernel,
        stride=ones,
        padding=(0,) * call.spatial,
        groups=1,
        transposed=False,
    )


def _spread_out(inputs: Tensor, call: Contraction) -> Tensor:
    """Zeros between the inputs, and around them as far as the reversed kernel reaches."""
    for place in range(call.spatial):
        axis = inputs.ndim - call.spatial + place
        step, taps = call.stride[place], call.weight.shape[2 + place]
        before = call.dilation[place] * (taps - 1) - call.padding[place]
        size = (inputs.shape[axis] - 1) * step + 1 + 2 * before + call.output_padding[place]
        target = before + step * torch.arange(inputs.shape[axis], device=inputs.device)
        # Padding beyond the kernel's reach cuts inputs off.
        inside = ((target >= 0) & (target < size)).nonzero().reshape(-1)
        shape = list(inputs.shape)
        shape[axis] = size
        wide = inputs.new_zeros(shape)
        wide.index_copy_(axis, target[inside], inputs.index_select(axis, inside))
        inputs = wide
    return inputs
