"""Convolutions and matrix products: the input's channels meet the weight's, new ones come out."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from prunella.graph.call import Call, rule
from prunella.graph.labels import Labels, constant_along
from prunella.ops import Contraction, contraction_of


@rule("convolution", "addmm", "mm")
def contract(call: Call, labels: Labels) -> None:
    """Tie the weight's input axis to the input's channels; its output axis labels the output."""
    found = contraction_of(call.func, call.args, labels.stored)
    if found is None:
        freeze_all(call, labels, "a product whose weight is not a stored tensor")
        return
    if found.weight.numel() != labels.stored.tensors[found.name].numel():
        freeze_all(call, labels, "a weight of which only a part is used")
        return
    channels = call.out.shape[found.channel_axis]
    # Each weight meets every output position of its own channel once; in a transposed
    # convolution, which spreads its inputs out, every input position.
    spread = found.inputs if found.transposed else call.out
    labels.use(found.name, math.prod(spread.shape) // spread.shape[found.channel_axis])
    if found.groups == 1:
        _dense(call, found, labels)
    elif found.weight.shape[1] == 1 and not found.transposed and _one_to_one(found, channels):
        _depthwise(call, found, labels)
    else:
        freeze_all(call, labels, f"a convolution with {found.groups} groups")


@rule("bmm", "baddbmm")
def batched_product(call: Call, labels: Labels) -> None:
    """A product of activations: only positions that are not contracted keep their labels."""
    freeze_all(call, labels, "a product of two activations")


def freeze_all(call: Call, labels: Labels, what: str) -> None:
    """Freeze every channel that a call touches."""
    reason = f"{what} ({call.operation}) at {call.where()}"
    for tensor in call.tensors():
        known = labels.get(tensor)
        if known is not None:
            labels.freeze(known, reason)
        for name in labels.stored.names(tensor):
            labels.freeze_stored(name, reason)


def _one_to_one(found: Contraction, channels: int) -> bool:
    return found.groups == channels == found.inputs.shape[found.channel_axis]


def _dense(call: Call, found: Contraction, labels: Labels) -> None:
    consumer = _block(found, labels, out=False)
    known = labels.get(found.inputs)
    if known is None:
        reason = f"reads the model's input at {call.where()}"
        labels.freeze(consumer, reason)
    else:
        channels = _channels(known, found)
        if channels is None:
            freeze_all(call, labels, "channels at different places in different samples")
            return
        labels.tie(channels, consumer)
    producer = _block(found, labels, out=True)
    _tie_bias(found.bias, producer, call, labels)
    labels.put(call.out, _spread(producer, call.out, found.channel_axis))


def _depthwise(call: Call, found: Contraction, labels: Labels) -> None:
    labels.roles.setdefault((found.name, found.out_axis), "carrier")
    carrier = labels.axis(found.name, found.out_axis)
    known = labels.get(found.inputs)
    if known is None:
        labels.freeze(carrier, f"reads the model's input at {call.where()}")
    else:
        channels = _channels(known, found)
        if channels is None:
            freeze_all(call, labels, "channels at different places in different samples")
            return
        labels.tie(channels, carrier)
    _tie_bias(found.bias, carrier, call, labels)
    labels.put(call.out, _spread(carrier, call.out, found.channel_axis))


def _block(found: Contraction, labels: Labels, *, out: bool) -> Tensor:
    """Labels of the part of the weight's axis that the call saw."""
    stored_axis = found.out_axis if out else found.in_axis
    labels.play(found.name, stored_axis, "producer" if out else "consumer")
    position = found.view.axes.index(stored_axis)
    along = labels.along(found.view, position, found.weight.shape[position])
    return along if along is not None else torch.zeros(0, dtype=torch.long)


def _channels(known: Tensor, found: Contraction) -> Tensor | None:
    others = [axis for axis in range(known.ndim) if axis != found.channel_axis]
    reduced = constant_along(known, others)
    return None if reduced is None else reduced.reshape(-1)


def _tie_bias(bias: Tensor | None, producer: Tensor, call: Call, labels: Labels) -> None:
    if bias is None:
        return
    view = labels.stored.locate(bias)
    if view is None or bias.ndim != 1 or view.axes[0] is None:
        freeze_all(call, labels, "a bias that is not a stored vector")
        return
    labels.roles.setdefault((view.name, view.axes[0]), "producer")
    along = labels.along(view, 0, bias.shape[0])
    if along is not None:
        labels.tie(along, producer)


def _spread(channels: Tensor, out: Tensor, axis: int) -> Tensor:
    shape = [1] * out.ndim
    shape[axis] = -1
    return channels.view(shape).expand(out.shape)
