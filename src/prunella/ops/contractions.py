"""Convolutions and matrix products with a stored weight, in one normal form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from prunella.ops.storage import StoredTensors, View


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Contraction:
    """One call in which a stored weight meets an activation.

    Attributes:
        name: Dotted name of the weight.
        view: How the weight was seen by the call.
        weight: The weight as the call saw it.
        inputs: The activation. Convolution: (N, C, *spatial) or (C, *spatial). Linear: (rows, in).
        bias: The bias argument of the call, if any.
        in_axis: Axis of the *stored* weight that meets the input's channels.
        out_axis: Axis of the stored weight that makes the output's channels.
        channel_axis: Axis of the inputs that holds the channels.
        spatial: Number of spatial axes; 0 for a matrix product.
        stride: One for each spatial axis; likewise padding and dilation.
        padding: Zeros added at both ends of each spatial axis.
        dilation: Distance of neighbouring kernel entries.
        groups: Independent blocks of channels; 1 for a matrix product.
        transposed: Whether this is a transposed convolution.
        output_padding: Positions added at one end of each axis of a transposed one's output.
    """

    name: str
    view: View
    weight: Tensor
    inputs: Tensor
    bias: Tensor | None
    in_axis: int
    out_axis: int
    channel_axis: int
    spatial: int
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1
    transposed: bool = False
    output_padding: tuple[int, ...] = ()


def contraction_of(func: Any, args: tuple[Any, ...], stored: StoredTensors) -> Contraction | None:
    """The normal form of a call, or None if it is no product of an activation with a weight."""
    operation = func.overloadpacket.__name__
    if operation == "convolution":
        return _convolution(args, stored)
    if operation == "addmm" and len(args) == 3:
        return _matrix_product(args[1], args[2], args[0], stored)
    if operation == "mm":
        return _matrix_product(args[0], args[1], None, stored)
    return None


def _convolution(args: tuple[Any, ...], stored: StoredTensors) -> Contraction | None:
    inputs, weight, bias, stride, padding, dilation, transposed, extra, groups = args
    view = stored.locate(weight)
    if view is None or stored.holds(inputs):
        return None
    spatial = weight.ndim - 2
    out_axis, in_axis = (1, 0) if transposed else (0, 1)
    if view.axes[out_axis] is None or view.axes[in_axis] is None:
        return None
    return Contraction(
        name=view.name,
        view=view,
        weight=weight,
        inputs=inputs,
        bias=bias,
        in_axis=_known(view.axes[in_axis]),
        out_axis=_known(view.axes[out_axis]),
        channel_axis=inputs.ndim - spatial - 1,
        spatial=spatial,
        stride=_each(stride, spatial),
        padding=_each(padding, spatial),
        dilation=_each(dilation, spatial),
        groups=groups,
        transposed=transposed,
        output_padding=_each(extra, spatial),
    )


def _matrix_product(
    inputs: Tensor, weight: Tensor, bias: Tensor | None, stored: StoredTensors
) -> Contraction | None:
    view = stored.locate(weight)
    if view is None or stored.holds(inputs) or None in view.axes:
        return None
    return Contraction(
        name=view.name,
        view=view,
        weight=weight,
        inputs=inputs,
        bias=bias,
        in_axis=_known(view.axes[0]),
        out_axis=_known(view.axes[1]),
        channel_axis=1,
        spatial=0,
    )


def _known(axis: int | None) -> int:
    if axis is None:
        raise AssertionError("an axis that was checked before")
    return axis


def _each(values: Any, count: int) -> tuple[int, ...]:
    each = tuple(int(v) for v in values)
    return each * count if len(each) == 1 else each
