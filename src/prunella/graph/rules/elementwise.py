"""Operations on each element: labels pass, and operands at equal positions are tied."""

from __future__ import annotations

import torch
from torch import Tensor

from prunella.graph.call import Call, rule
from prunella.graph.labels import FIXED, Labels, compact, constant_along

_UNARY = (
    "abs", "celu", "clamp", "clamp_max", "clamp_min", "cos", "div_scalar", "elu", "erf", "exp",
    "gelu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "log", "log1p", "mish", "neg",
    "reciprocal", "relu", "relu6", "round", "rsqrt", "selu", "sigmoid", "sign", "silu", "sin",
    "softplus", "sqrt", "square", "tanh", "threshold",
)  # fmt: skip
_COMBINING = (
    "add", "addcdiv", "addcmul", "div", "fmod", "maximum", "minimum", "mul", "pow", "remainder",
    "rsub", "sub", "_prelu_kernel", "where",
)  # fmt: skip


@rule(*_UNARY, *_COMBINING)
def elementwise(call: Call, labels: Labels) -> None:
    """Tie all labelled operands at equal positions; the result carries the labels of the first."""
    shape = call.outputs[0].shape
    carried: list[Tensor] = []
    bare: list[Tensor] = []
    for operand in call.tensors():
        known = operand_labels(operand, call, labels)
        if known is None:
            bare.append(operand)
        else:
            carried.append(known.expand(shape))
    if not carried:
        return
    result = carried[0]
    for other in carried[1:]:
        labels.tie(result, other)
        result = _fill(result, other, call, labels)
    for operand in bare:
        _meet_constant(result, operand, call, labels)
    for out in call.outputs:
        labels.put(out, result)


def _fill(result: Tensor, other: Tensor, call: Call, labels: Labels) -> Tensor:
    """Take the other's labels at fixed positions; channels that meet fixed ones cannot move."""
    a, b = compact(result, other)
    lonely = (a == FIXED) != (b == FIXED)
    if not bool(lonely.any()):
        return result
    reason = f"{call.operation} with positions of fixed number at {call.where()}"
    labels.freeze(torch.where(lonely, a + b, FIXED), reason)
    return torch.where(a == FIXED, b, a).expand(result.shape)


def _meet_constant(result: Tensor, operand: Tensor, call: Call, labels: Labels) -> None:
    """An operand without labels must not have an extent of its own where the channels are."""
    offset = result.ndim - operand.ndim
    extended = [axis + offset for axis in range(operand.ndim) if operand.shape[axis] > 1]
    if constant_along(result, extended) is None:
        reason = f"{call.operation} with a tensor of fixed size at {call.where()}"
        labels.freeze(result, reason)


def operand_labels(operand: Tensor, call: Call, labels: Labels) -> Tensor | None:
    """Labels of an activation, or of a stored tensor used as a scale or shift of channels."""
    known = labels.get(operand)
    if known is not None or not labels.stored.holds(operand):
        return known
    view = labels.stored.locate(operand)
    long = [axis for axis in range(operand.ndim) if operand.shape[axis] > 1]
    if not long:
        return None
    if view is None or len(long) > 1:
        for name in labels.stored.names(operand):
            labels.freeze_stored(name, f"used whole by {call.operation} at {call.where()}")
        return None
    (axis,) = long
    stored_axis = view.axes[axis]
    if stored_axis is None:
        return None
    labels.play(view.name, stored_axis, "carrier")
    along = labels.along(view, axis, operand.shape[axis])
    if along is None:
        return None
    shape = [1] * operand.ndim
    shape[axis] = -1
    return along.view(shape).expand(operand.shape)
