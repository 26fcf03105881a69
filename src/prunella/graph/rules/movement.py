"""Operations that only move data: the very same operation is applied to the labels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from prunella.graph.call import Call, rule
from prunella.graph.labels import Labels

_MOVES = (
    "alias", "clone", "detach", "diagonal", "expand", "flip", "lift_fresh", "narrow_copy",
    "permute", "pixel_shuffle", "pixel_unshuffle", "repeat", "roll", "select", "slice", "split",
    "split_with_sizes", "squeeze", "t", "transpose", "unbind", "unfold", "unsqueeze",
)  # fmt: skip


@rule(*_MOVES)
def move(call: Call, labels: Labels) -> None:
    """Labels go where the data goes."""
    source = labels.get(call.first)
    if source is None:
        return
    moved = call.func(source, *call.args[1:], **_plain(call.kwargs))
    _attach(call, moved, labels)


@rule("view", "_unsafe_view", "reshape")
def reshape(call: Call, labels: Labels) -> None:
    """Labels, which are stored expanded, may need a copy where the data needed none."""
    source = labels.get(call.first)
    if source is not None:
        labels.put(call.out, source.reshape(call.out.shape))


@rule("_to_copy", "contiguous", "dropout", "native_dropout")
def same(call: Call, labels: Labels) -> None:
    """Type, layout or noise change; every element stays where it is."""
    source = labels.get(call.first)
    for out in call.outputs:
        labels.put(out, source)


@rule("cat", "stack")
def join(call: Call, labels: Labels) -> None:
    """Positions of parts without labels are fixed: they belong to no removable channel."""
    parts: list[Tensor] = call.args[0]
    known = [labels.get(part) for part in parts]
    if all(part is None for part in known):
        return
    filled = [
        torch.zeros(part.shape, dtype=torch.long) if label is None else label
        for part, label in zip(parts, known, strict=True)
    ]
    labels.put(call.out, call.func(filled, *call.args[1:], **call.kwargs))


@rule("constant_pad_nd")
def pad(call: Call, labels: Labels) -> None:
    """Added positions are fixed; a width written as a constant cannot shrink with the channels."""
    source = labels.get(call.first)
    if source is not None:
        labels.put(call.out, call.func(source, call.args[1], 0))


def _plain(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in kwargs.items() if key != "memory_format"}


def _attach(call: Call, moved: Any, labels: Labels) -> None:
    if isinstance(moved, Tensor):
        labels.put(call.out, moved)
        return
    for out, label in zip(call.out, moved, strict=True):
        labels.put(out, label)
