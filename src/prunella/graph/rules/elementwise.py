"""Operations on each element: labels pass, and operands at equal positions are tied."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from prunella.graph.call import Call, rule
from prunella.graph.labels import FIXED, Labels
from prunella.graph.layout import compact, varying_axes
from prunella.graph.notes import Later

_UNARY = (
    "abs", "bitwise_not", "ceil", "celu", "clamp", "clamp_max", "clamp_min", "cos", "div_scalar",
    "elu", "erf", "exp", "expm1", "floor", "gelu", "hardsigmoid", "hardswish", "hardtanh",
    "leaky_relu", "log", "log1p", "log_sigmoid_forward", "logical_not", "masked_fill", "mish",
    "nan_to_num", "neg", "reciprocal", "relu", "relu6", "round", "rrelu_with_noise", "rsqrt",
    "selu", "sgn", "sigmoid", "sign", "silu", "sin", "softplus", "sqrt", "square", "tan", "tanh",
    "threshold", "trunc", "bernoulli",
)  # fmt: skip
_COMBINING = (
    "add", "addcdiv", "addcmul", "atan2", "bitwise_and", "bitwise_or", "div", "eq", "fmod", "ge",
    "gt", "le", "lerp", "logical_and", "logical_or", "lt", "maximum", "minimum", "mul", "ne",
    "pow", "remainder", "rsub", "sub", "_prelu_kernel", "where", "xlogy",
)  # fmt: skip


@rule(*_UNARY, *_COMBINING)
def elementwise(call: Call, labels: Labels) -> None:
    """Tie all labelled operands at equal positions; the result carries the labels of the first."""
    shape = call.outputs[0].shape
    carried: list[Tensor] = []
    bare: list[Tensor] = []
    for operand in call.tensors():
        known = labels.get(operand)
        if known is None:
            bare.append(operand)
        else:
            carried.append(known.expand(shape))
    if not carried:
        _of_parameters(call, labels, shape)
        return
    result = carried[0]
    for other in carried[1:]:
        labels.tie(result, other)
        result = fill(result, other, call, labels)
    for operand in bare:
        meet(result, operand, call, labels)
    for out in call.outputs:
        labels.put(out, result)
    if _is_square(call):
        labels.mark_square(call.out)


def _is_square(call: Call) -> bool:
    """x ** 2 or x * x."""
    if call.operation == "mul":
        return call.args[0] is call.args[1]
    return call.operation == "square" or (call.operation == "pow" and call.args[1] == 2)


def meet(result: Tensor, operand: Tensor, call: Call, labels: Labels) -> None:
    """An operand that is no activation must fit the channels it meets.

    A parameter's axis along which the channels lie goes with them; any other of its axes, and
    every axis of a constant, has a fixed size, so no channel may lie along it.
    """
    offset = result.ndim - operand.ndim
    extended = {axis + offset for axis in range(operand.ndim) if operand.shape[axis] > 1}
    for layer in labels.layers(operand) or ():
        wide = layer.expand(result.shape)
        along = varying_axes(wide)
        if along and labels.is_one_unit(result):
            # Nothing of it can go alone, so the parameter is told with it, not by itself.
            labels.carry(layer)
            labels.tie(result, wide)
            extended -= set(along)
        elif along and labels.constant_along(result, along) is None:
            _go_along(result, wide, along, layer, call, labels)
            extended -= set(along)
        else:
            labels.freeze(layer, f"of fixed size for {call.operation} at {call.where()}")
    if labels.constant_along(result, sorted(extended)) is None:
        reason = f"{call.operation} with a tensor of fixed size at {call.where()}"
        labels.require_whole(result, sorted(extended), reason)


def meet_vectors(
    channels: Tensor,  # (C,) labels
    parameters: Sequence[Tensor],
    call: Call,
    labels: Labels,
) -> None:
    """As `meet` for each of the parameters; what is asked of the channels is asked once."""
    go = labels.constant_along(channels, [0]) is None or labels.is_one_unit(channels)
    for parameter in parameters:
        plain = go and parameter.shape == channels.shape and len(channels) > 1
        name = labels.stored.name_of(parameter) if plain else None
        if name is not None and labels.adopt(name, channels):
            labels.roles.setdefault((name, 0), "carrier")
            continue
        layers = labels.layers(parameter) if plain and labels.stored.holds(parameter) else None
        if layers:
            labels.carry(layers[0])
            labels.tie(channels, layers[0])
        else:
            meet(channels, parameter, call, labels)


def _go_along(
    result: Tensor, wide: Tensor, along: list[int], layer: Tensor, call: Call, labels: Labels
) -> None:
    """Tie a parameter's axis to the channels, at the end of the run if they differ across it.

    One vector for the positions of every head, as rotary embeddings are, is such a case: the heads
    are tied to each other by it only if nothing else ties the positions of each of them.
    """
    others = [axis for axis in range(result.ndim) if axis not in along]
    if labels.constant_along(result, others) is not None:
        labels.carry(layer)
        labels.tie(result, wide)
        return
    reason = f"of fixed size for {call.operation} at {call.where()}"
    labels.later.append(Later(result=result, wide=wide, layer=layer, axes=along, reason=reason))


def fill(result: Tensor, other: Tensor, call: Call, labels: Labels) -> Tensor:
    """Take the other's labels at fixed positions; channels that meet fixed ones cannot move."""
    a, b = compact(result, other)
    lonely = (a == FIXED) != (b == FIXED)
    if not bool(lonely.any()):
        return result
    reason = f"{call.operation} with positions of fixed number at {call.where()}"
    labels.freeze(torch.where(lonely, a + b, FIXED), reason)
    return torch.where(a == FIXED, b, a).expand(result.shape)


def _of_parameters(call: Call, labels: Labels, shape: Sequence[int]) -> None:
    """What is computed from parameters alone keeps their axes as layers."""
    out: list[Tensor] = []
    for operand in call.tensors():
        for layer in labels.layers(operand) or ():
            wide = layer.expand(tuple(shape))
            alike = [known for known in out if varying_axes(known) == varying_axes(wide)]
            if alike:
                labels.tie(alike[0], wide)
            else:
                out.append(wide)
    if out:
        for result in call.outputs:
            if not labels.stored.holds(result):
                labels.put_layers(result, out)
