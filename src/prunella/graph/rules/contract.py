"""Convolutions and matrix products: the input's channels meet the weight's, new ones come out."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from prunella.graph.call import Call, rule
from prunella.graph.labels import FIXED, Labels
from prunella.graph.layout import compact, spread
from prunella.ops import Contraction, contraction_of


@rule("convolution", "addmm", "mm")
def contract(call: Call, labels: Labels) -> None:
    """Tie the weight's input axis to the input's channels; its output axis labels the output."""
    found = contraction_of(call.func, call.args, labels.stored)
    if found is None:
        freeze_all(call, labels, "a product whose weight is not a stored tensor")
        return
    # Each weight meets every output position of its own channel once; in a transposed
    # convolution, which spreads its inputs out, every input position.
    meets = found.inputs if found.transposed else call.out
    positions = math.prod(meets.shape) // meets.shape[found.channel_axis]
    labels.use(found.name, positions * found.weight.numel())
    if found.groups == 1:
        _dense(call, found, labels)
    elif found.weight.numel() != labels.stored.tensors[found.name].numel():
        freeze_all(call, labels, "a grouped convolution with a part of a weight")
    elif found.groups >= found.inputs.shape[found.channel_axis] // found.groups:
        _whole_groups(call, found, labels)
    else:
        _equal_groups(call, found, labels)


@rule(
    "mkldnn_rnn_layer", "lstm", "gru", "rnn_tanh", "rnn_relu", "_thnn_fused_lstm_cell",
    "_thnn_fused_gru_cell", "_cudnn_rnn", "lstm_cell", "gru_cell",
)  # fmt: skip
def recurrent(call: Call, labels: Labels) -> None:
    """Nothing of a recurrent layer is removed, nor of what it reads."""
    freeze_all(call, labels, "recurrent layers are left whole")


def freeze_all(call: Call, labels: Labels, what: str) -> None:
    """Freeze every channel that a call touches."""
    reason = f"{what} ({call.operation}) at {call.where()}"
    for tensor in call.tensors():
        known = labels.get(tensor)
        if known is not None:
            labels.freeze(known, reason)
            continue
        for layer in labels.layers(tensor) or ():
            labels.freeze(layer, reason)
        for name in labels.stored.names(tensor):
            labels.freeze_stored(name, reason)


def _dense(call: Call, found: Contraction, labels: Labels) -> None:
    consumer = _block(found, labels, out=False)
    producer = _block(found, labels, out=True)
    channels = _channels(call, found, labels)
    if channels is None:
        labels.freeze(consumer, f"reads the model's input at {call.where()}")
    else:
        labels.tie(channels, consumer)
        _freeze_at_fixed(channels, consumer, call, labels)
    _tie_bias(found.bias, producer, call, labels)
    labels.put(call.out, spread(producer, call.out.shape, found.channel_axis))


def _whole_groups(call: Call, found: Contraction, labels: Labels) -> None:
    """A group's inputs and outputs go together; a depthwise convolution has groups of one."""
    labels.roles.setdefault((found.name, 0), "carrier")
    rows = labels.axis(found.name, 0).view(found.groups, -1)
    labels.tie(rows, rows[:, :1])
    channels = _channels(call, found, labels)
    if channels is None:
        labels.freeze(rows, f"reads the model's input at {call.where()}")
    else:
        by_group = channels.view(found.groups, -1)
        labels.tie(by_group, rows[:, :1])
        _freeze_at_fixed(by_group, rows[:, :1].expand_as(by_group), call, labels)
    width = call.out.shape[found.channel_axis] // found.groups
    made = rows[:, :1].expand(-1, width).reshape(-1)
    _tie_bias(found.bias, made, call, labels)
    labels.put(call.out, spread(made, call.out.shape, found.channel_axis))


def _equal_groups(call: Call, found: Contraction, labels: Labels) -> None:
    """The same places in every group go together, so that the groups stay equal."""
    reads, makes = found.in_axis, found.out_axis
    consumer = labels.play(found.name, reads, "consumer")
    producer = labels.play(found.name, makes, "producer")
    by_group = producer if found.transposed else consumer  # shared by all groups in the weight
    each = consumer if found.transposed else producer  # one block for each group
    labels.tie(each.view(found.groups, -1), each.view(found.groups, -1)[:1])
    taken = each if found.transposed else by_group.repeat(found.groups)
    made = by_group.repeat(found.groups) if found.transposed else each
    channels = _channels(call, found, labels)
    if channels is None:
        labels.freeze(taken, f"reads the model's input at {call.where()}")
    else:
        labels.tie(channels, taken)
        _freeze_at_fixed(channels, taken, call, labels)
    _tie_bias(found.bias, made, call, labels)
    labels.put(call.out, spread(made, call.out.shape, found.channel_axis))


def _block(found: Contraction, labels: Labels, *, out: bool) -> Tensor:
    """Labels of the part of the weight's axis that the call saw."""
    stored_axis = found.out_axis if out else found.in_axis
    labels.play(found.name, stored_axis, "producer" if out else "consumer")
    position = found.view.axes.index(stored_axis)
    along = labels.along(found.view, position, found.weight.shape[position])
    return along if along is not None else torch.zeros(0, dtype=torch.long)


def _channels(call: Call, found: Contraction, labels: Labels) -> Tensor | None:
    """One label for each input channel, (channels,); None where none lie along that axis."""
    known = labels.get(found.inputs)
    if known is None:
        _freeze_constant_inputs(found, labels)
        return None
    axis = found.channel_axis
    others = [a for a in range(known.ndim) if a != axis]
    reduced = labels.constant_along(known, others)
    if reduced is None:
        reason = f"different channels meet one weight of {call.operation} at {call.where()}"
        if bool((compact(known)[0] == FIXED).any()):
            labels.freeze(known, reason)
        reduced = labels.tie_along(known, others, reason)
    return reduced.reshape(-1)


def _freeze_constant_inputs(found: Contraction, labels: Labels) -> None:
    for layer in labels.layers(found.inputs) or ():
        labels.freeze(layer, f"{found.name!r} reads it as it is")


def _freeze_at_fixed(met: Tensor, taken: Tensor, call: Call, labels: Labels) -> None:
    """Positions that meet none of a removable channel cannot be removed either."""
    fixed = met == FIXED
    if bool(fixed.any()):
        reason = f"meets positions of fixed number at {call.where()}"
        labels.freeze(torch.where(fixed, taken, FIXED), reason)


def _tie_bias(bias: Tensor | None, producer: Tensor, call: Call, labels: Labels) -> None:
    if bias is None:
        return
    layers = labels.layers(bias)
    if layers is None or bias.ndim != 1 or (len(bias) > 1 and not layers):
        freeze_all(call, labels, "a bias that is not a stored vector")
        return
    for layer in layers:
        wide = layer.expand(producer.shape)
        labels.carry(layer, "producer")
        labels.tie(wide, producer)
        _freeze_at_fixed(wide, producer, call, labels)
