"""Tensors joined end to end or side by side."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from prunella.graph.call import Call, rule
from prunella.graph.labels import Labels
from prunella.graph.layout import varying_axes
from prunella.graph.rules.movement import axis_argument


@rule("cat", "stack")
def join(call: Call, labels: Labels) -> None:
    """Positions of parts without labels are fixed: they belong to no removable channel."""
    parts: list[Tensor] = call.args[0]
    known = [labels.get(part) for part in parts]
    layers = [labels.layers(part) for part in parts]
    if all(part is None for part in known):
        if any(found is not None for found in layers):
            _join_layers(call, parts, layers, labels)
        return
    axes = {axis for part in known if part is not None for axis in varying_axes(part)}
    filled = [
        _of_part(part, own, layer, axes, labels)
        for part, own, layer in zip(parts, known, layers, strict=True)
    ]
    labels.put(call.out, _on_thin(filled, call, call.out.shape))


def _of_part(
    part: Tensor,
    own: Tensor | None,
    layers: tuple[Tensor, ...] | None,
    axes: set[int],
    labels: Labels,
) -> Tensor:
    """Labels of one part: its own, those of a parameter along the axes of the others, or none."""
    if own is not None:
        return own
    chosen = torch.zeros((), dtype=torch.long).expand(part.shape)
    for layer in layers or ():
        if set(varying_axes(layer)) <= axes and not chosen.any():
            labels.carry(layer)
            chosen = layer
        else:
            labels.freeze(layer, "is joined to channels along an axis of fixed size")
    return chosen


def _join_layers(
    call: Call,
    parts: list[Tensor],
    layers: list[tuple[Tensor, ...] | None],
    labels: Labels,
) -> None:
    """Parts of parameters joined end to end, as the bias of a fused projection may be."""
    if call.operation == "cat" and all(part.ndim == 1 for part in parts):
        none = torch.zeros((), dtype=torch.long)
        rows = [
            found[0] if found else none.expand(part.shape)
            for part, found in zip(parts, layers, strict=True)
        ]
        labels.put_layers(call.out, [torch.cat(rows)])
        return
    for found in layers:
        for layer in found or ():
            labels.freeze(layer, f"is joined to other parameters at {call.where()}")


def _on_thin(filled: list[Tensor], call: Call, shape: Sequence[int]) -> Tensor:
    """Join labels without unfolding the axes along which all of them merely repeat."""
    axis = axis_argument(call, 1)
    if call.operation == "stack":
        return torch.stack(filled, axis)
    axis %= len(shape)
    thin = list(filled)
    for other in range(len(shape)):
        if other != axis and all(part.stride(other) == 0 for part in filled if part.numel()):
            thin = [part.narrow(other, 0, min(1, part.shape[other])) for part in thin]
    return torch.cat(thin, axis).expand(tuple(shape))
