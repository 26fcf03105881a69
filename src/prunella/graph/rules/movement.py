"""Operations that only move data: the very same operation is applied to the labels.

Where channels are split over several axes, or several axes are merged into one, what is left after
a cut must still be a full block; where they are divided among several tensors, the parts must stay
equal. Both are noted during the run and made sure of at its end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from prunella.graph.call import Call, rule
from prunella.graph.labels import FIXED, Labels
from prunella.graph.layout import compact
from prunella.graph.rules.contract import freeze_all
from prunella.graph.splits import note_split

_MOVES = (
    "alias", "detach", "diagonal", "expand", "flip", "lift_fresh", "permute", "repeat",
    "squeeze", "t", "transpose", "unsqueeze", "movedim", "swapaxes",
)  # fmt: skip


@rule(*_MOVES)
def move(call: Call, labels: Labels) -> None:
    """Labels go where the data goes."""
    kwargs = {key: value for key, value in call.kwargs.items() if key != "memory_format"}
    _moved(call, labels, lambda known: call.func(known, *call.args[1:], **kwargs))


@rule("view", "_unsafe_view", "reshape")
def reshape(call: Call, labels: Labels) -> None:
    """Labels, which are stored expanded, may need a copy where the data needed none."""
    shape = call.out.shape
    blocks = _regrouped(call.first.shape, shape)
    known = labels.get(call.first)
    if known is not None:
        moved = _reshaped(known, shape, blocks)
        for before, after in blocks:
            _note_grid(known, before, labels)
            _note_grid(moved, after, labels)
    _moved(call, labels, lambda found: _reshaped(found, shape, blocks))


def _reshaped(
    known: Tensor, shape: Sequence[int], blocks: list[tuple[list[int], list[int]]]
) -> Tensor:
    """As `known.reshape(shape)`, with axes that stay as they are kept expanded."""
    before = {axis for block, _ in blocks for axis in block}
    after = {axis for _, block in blocks for axis in block}
    own = [axis for axis in range(known.ndim) if axis not in before]
    new = [axis for axis in range(len(shape)) if axis not in after]
    if len(own) != len(new):  # axes of length one came or went
        return known.reshape(tuple(shape))
    thin_shape = list(shape)
    for old_axis, new_axis in zip(own, new, strict=True):
        if known.stride(old_axis) == 0 and known.shape[old_axis] > 1:
            known = known.narrow(old_axis, 0, 1)
            thin_shape[new_axis] = 1
    return known.reshape(thin_shape).expand(tuple(shape))


@rule("pixel_shuffle", "pixel_unshuffle")
def shuffle_pixels(call: Call, labels: Labels) -> None:
    """Blocks of channels become neighbouring pixels, or the reverse."""
    known = labels.get(call.first)
    if known is None:
        return
    moved = call.func(known, *call.args[1:])
    factor = call.args[1]
    if call.operation == "pixel_shuffle":
        corner = moved[(0,) * (moved.ndim - 3)][:, :factor, :factor]
        labels.grids.append(corner.reshape(len(corner), -1))
    labels.put(call.out, moved)


@rule("unfold")
def unfold(call: Call, labels: Labels) -> None:
    """Windows along one axis; channels must not be among what slides."""
    _along_plain_axis(call, labels, [call.args[1]], "windows over channels")


@rule("roll")
def roll(call: Call, labels: Labels) -> None:
    """Channels must lie along other axes than those that are shifted."""
    axes = list(call.args[2] if len(call.args) > 2 else ()) or list(range(call.first.ndim))
    _along_plain_axis(call, labels, axes, "a shift of channels")


@rule("slice", "narrow_copy")
def part(call: Call, labels: Labels) -> None:
    """A part of an axis; if channels lie along it, it must be one of several equal parts."""
    axis = call.args[1] if len(call.args) > 1 else 0
    known = labels.get(call.first)
    if known is not None:
        _note_slice(call, known, axis % known.ndim, labels)
    _moved(call, labels, lambda found: call.func(found, *call.args[1:], **call.kwargs))


@rule("split", "split_with_sizes", "chunk", "unbind", "select")
def divide(call: Call, labels: Labels) -> None:
    """Several parts of an axis, which must stay equal if channels lie along it."""
    known = labels.get(call.first)
    single = call.operation in ("unbind", "select")
    if known is not None:
        axis = axis_argument(call, 1 if single else 2) % known.ndim
        if labels.constant_along(known, [axis]) is None:
            parts = (
                known.unbind(axis) if single else call.func(known, *call.args[1:], **call.kwargs)
            )
            parts = [p.unsqueeze(axis) if single else p for p in parts]
            split = note_split(parts, axis, call, labels)
            if split is None or split.is_equal:
                _note_parts(parts, axis, call, labels)
    _moved(call, labels, lambda found: call.func(found, *call.args[1:], **call.kwargs))


@rule("new_zeros", "new_ones", "new_full", "new_empty", "new_empty_strided")
def fresh(call: Call, labels: Labels) -> None:
    """Only type and device are read; what is made has a size of its own."""
    del call, labels


@rule(
    "_to_copy", "clone", "contiguous", "dropout", "native_dropout", "to", "_reshape_alias",
    "zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like",
)  # fmt: skip
def same(call: Call, labels: Labels) -> None:
    """Type, layout, noise or values change; every element stays where it is."""
    source, layers = labels.get(call.first), labels.layers(call.first)
    for out in call.outputs:
        if source is not None:
            labels.put(out, source.reshape(out.shape))
        elif layers is not None:
            labels.put_layers(out, [layer.reshape(out.shape) for layer in layers])


@rule("as_strided")
def laid_out(call: Call, labels: Labels) -> None:
    """The same elements with other steps, as a pooling to one position does it."""
    source, out = call.first, call.out
    steps = zip(source.shape, source.stride(), out.stride(), strict=False)
    if source.shape != out.shape or any(n > 1 and a != b for n, a, b in steps):
        freeze_all(call, labels, "a view by steps in memory")
        return
    same(call, labels)


@rule("constant_pad_nd")
def pad(call: Call, labels: Labels) -> None:
    """Added positions are fixed; a width written as a constant cannot shrink with the channels."""
    known = labels.get(call.first)
    if known is None:
        return
    widths = call.args[1]
    padded = [known.ndim - 1 - i // 2 for i, width in enumerate(widths) if width]
    if labels.constant_along(known, padded) is not None:
        thin = known
        for axis in padded:
            thin = thin.narrow(axis, 0, 1)
        labels.put(call.out, thin.expand(call.out.shape))
        return
    labels.put(call.out, F.pad(known, widths, value=FIXED))


@rule("index", "index_select", "gather")
def index(call: Call, labels: Labels) -> None:
    """Positions chosen by number; channels must lie along other axes."""
    source = call.first
    if call.operation == "index":
        chosen = [i for i, where in enumerate(call.args[1]) if where is not None]
    else:
        chosen = [call.args[1] % source.ndim]
    _along_plain_axis(call, labels, chosen, "a choice of positions by number")


@rule("im2col")
def columns(call: Call, labels: Labels) -> None:
    """Each channel becomes the positions of its window."""
    known = labels.get(call.first)
    if known is None:
        return
    reduced = labels.constant_along(known, [known.ndim - 2, known.ndim - 1])
    if reduced is None:
        freeze_all(call, labels, "windows over channels")
        return
    taps = math.prod(call.args[1])
    rows = reduced.squeeze(-1).repeat_interleave(taps, dim=-2)
    labels.put(call.out, rows.expand(call.out.shape))


@rule("embedding")
def embedding(call: Call, labels: Labels) -> None:
    """Rows of a table chosen by number; its columns are channels made here."""
    view = labels.stored.locate(call.args[0])
    if view is None or call.args[0].ndim != 2 or view.axes[1] is None:
        freeze_all(call, labels, "a table of vectors that is no stored matrix")
        return
    if view.axes[0] is not None:
        labels.freeze(labels.axis(view.name, view.axes[0]), "rows are chosen by number")
    made = labels.play(view.name, view.axes[1], "producer")
    labels.put(call.out, made.expand(call.out.shape))


def _moved(call: Call, labels: Labels, move_labels: Callable[[Tensor], Any]) -> None:
    """Apply a movement to the labels of the first argument, or to each of its layers."""
    known = labels.get(call.first)
    if known is not None:
        for out, found in zip(call.outputs, _each(move_labels(known)), strict=True):
            labels.put(out, found)
        return
    layers = labels.layers(call.first)
    if layers is None or all(labels.stored.holds(out) for out in call.outputs):
        return  # views of a stored tensor are recognised by their memory
    moved = [_each(move_labels(layer)) for layer in layers]
    for place, out in enumerate(call.outputs):
        labels.put_layers(out, [found[place] for found in moved])


def _each(found: Any) -> tuple[Tensor, ...]:
    return (found,) if isinstance(found, Tensor) else tuple(found)


def _along_plain_axis(call: Call, labels: Labels, axes: list[int], what: str) -> None:
    """The axes change in some way; every other axis keeps its labels."""
    source, out = call.first, call.outputs[0]
    known = labels.get(source)
    layers = labels.layers(source) if known is None else None
    if known is not None:
        found = _replaced(known, axes, out, labels)
        if found is None:
            freeze_all(call, labels, what)
        else:
            labels.put(out, found)
    elif layers is not None:
        kept = []
        for layer in layers:
            found = _replaced(layer, axes, out, labels)
            if found is None:
                labels.freeze(layer, f"{what} ({call.operation}) at {call.where()}")
            else:
                kept.append(found)
        labels.put_layers(out, kept)


def _replaced(known: Tensor, axes: list[int], out: Tensor, labels: Labels) -> Tensor | None:
    """Labels after the given axes gave way to others in the same place; None if they vary there."""
    axes = sorted(axis % known.ndim for axis in axes)
    reduced = labels.constant_along(known, axes)
    if reduced is None:
        return None
    gained = out.ndim - known.ndim
    if gained == 0:
        return reduced.expand(out.shape)
    if axes != list(range(axes[0], axes[-1] + 1)):
        return None
    rest = reduced
    for axis in reversed(axes):
        rest = rest.squeeze(axis)
    for _ in range(gained + len(axes)):
        rest = rest.unsqueeze(axes[0])
    return rest.expand(out.shape)


def axis_argument(call: Call, place: int) -> int:
    """The axis that a call names, by place or as `dim`; 0 if it names none."""
    given = call.args[place] if len(call.args) > place else call.kwargs.get("dim", 0)
    return int(given)


def _note_slice(call: Call, known: Tensor, axis: int, labels: Labels) -> None:
    size, width = known.shape[axis], call.out.shape[axis]
    if width == size or labels.constant_along(known, [axis]) is not None:
        return
    start = call.args[2] if len(call.args) > 2 and call.args[2] is not None else 0
    step = call.args[4] if len(call.args) > 4 else 1
    start = start + size if start < 0 else start
    if step != 1 or width == 0 or start % width or size % width:
        reason = f"a part of the channels of fixed size (slice) at {call.where()}"
        labels.require_whole(known, [axis], reason)
        return
    _note_parts(list(known.split(width, axis)), axis, call, labels)


def _note_parts(parts: list[Tensor], axis: int, call: Call, labels: Labels) -> None:
    """Labels of the parts of one axis, (parts, places in each)."""
    if len({part.shape[axis] for part in parts}) > 1:
        reason = f"parts of fixed, unequal size ({call.operation}) at {call.where()}"
        for part in parts:
            labels.freeze(part, reason)
    elif len(parts) > 1:
        labels.parts.append(torch.stack(compact(*parts)).reshape(len(parts), -1))


def _regrouped(before: Sequence[int], after: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Blocks of axes of two shapes that hold the same elements, where their number changes."""
    blocks, i, j = [], 0, 0
    while i < len(before) and j < len(after):
        old, new = [i], [j]
        a, b = before[i], after[j]
        while a != b:
            if a < b:
                i += 1
                old.append(i)
                a *= before[i]
            else:
                j += 1
                new.append(j)
                b *= after[j]
        if len(old) > 1 or len(new) > 1:
            blocks.append((old, new))
        i, j = i + 1, j + 1
    return blocks


def _note_grid(known: Tensor, axes: list[int], labels: Labels) -> None:
    """What is left of several axes that are one elsewhere must be a full block."""
    varying = [axis for axis in axes if labels.constant_along(known, [axis]) is None]
    if len(varying) < 2:
        return
    corner = known
    for axis in range(known.ndim):
        if axis not in varying:
            corner = corner.narrow(axis, 0, 1)
    labels.grids.append(corner.reshape([known.shape[axis] for axis in varying]))
