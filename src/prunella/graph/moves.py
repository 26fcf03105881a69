"""Views, slices and splits of channels: what they must look like after a cut.

A number in the model's code may fit a cut by chance: the result has the right shape, but other
channels in it than the labels say. The calls that could do so are noted in the labelled run, and
compared with what a trial cut calls.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn

from prunella.core.positions import complement
from prunella.core.types import ChannelGraph
from prunella.graph.call import Call
from prunella.graph.labels import Labels
from prunella.graph.layout import compact
from prunella.ops import CallWatcher, paths_of

# One call of `reshape` may be any of these, by how the elements lie in memory.
_VIEWS = ("view", "_unsafe_view", "reshape", "_reshape_alias")
_PARTS = ("slice", "select", "split", "split_with_sizes")
_KINDS = {**dict.fromkeys(_VIEWS, "view"), **dict(zip(_PARTS, _PARTS, strict=True))}
_RUNS_MODULE = nn.Module._call_impl.__code__
Key = tuple[str, str]  # module, kind of operation
Form = tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Move:
    """One call that views or divides channels.

    Attributes:
        number: How many calls of that operation by that module came before.
        known: Labels of the result of a view, or of what is divided.
        axis: The axis that is divided; None for a view.
        form: Where its parts begin and end; the shape of a view.
        where: Module and source line.
    """

    number: int
    known: Tensor
    axis: int | None
    form: Form
    where: str

    def differs(self, stays: Tensor, found: Form) -> bool:
        """Whether a cut gives another form than the labels say.

        Args:
            stays: Whether each label's channel stays, shape (labels,).
            found: The shape of the view, or the bounds of the parts.
        """
        known = self.known
        varying = [a for a in range(known.ndim) if known.stride(a) and known.shape[a] > 1]
        left = stays[compact(known)[0]]
        alive = {a: left.movedim(a, 0).flatten(1).any(dim=1) for a in varying}
        sizes = {a: int(line.sum()) for a, line in alive.items()}
        if math.prod(sizes.values()) != int(left.sum()):
            return False  # parts that keep equal numbers, not the same places
        if self.axis is None:
            after = [sizes.get(a, n) for a, n in enumerate(known.shape)]
            # An axis of length one holds nothing apart; einsum, for one, moves it about.
            return _without_ones(after) != _without_ones(found)
        before = [0, *alive[self.axis].cumsum(0).tolist()]
        return tuple(before[place] for place in self.form) != found


class Moves:
    """The calls of one run that view or divide channels, by module and kind of operation.

    Attributes:
        regroup: Whether any of them does more to channels than to add or drop axes of length one.

    Args:
        paths: The modules of what is run, by their dotted names.
    """

    def __init__(self, paths: list[tuple[str, nn.Module]]) -> None:
        self.kinds = {path: type(module) for path, module in paths}
        self.regroup = False
        self.counts: Counter[Key] = Counter()
        self.noted: dict[Key, list[Move]] = {}

    def note(self, call: Call, labels: Labels) -> None:
        """Count a call, and keep it if channels are regrouped or divided by it."""
        kind = _KINDS.get(call.operation)
        if kind is None:
            return
        key = call.module(), kind
        number = self.counts[key]
        self.counts[key] += 1
        axis, form = _form(kind, call.args, call.out)
        known = labels.get(call.out if axis is None else call.first)
        if known is None or not _matters(known, axis):
            return
        self.regroup |= axis is not None or _without_ones(call.first.shape) != _without_ones(form)
        move = Move(number=number, known=known, axis=axis, form=form, where=call.where())
        self.noted.setdefault(key, []).append(move)

    def misfit(
        self,
        graph: ChannelGraph,
        kept: Mapping[str, Tensor],  # group name -> (kept,) int64
        labels: Labels,
        small: nn.Module,
        found: Mapping[Key, Sequence[Form]],
    ) -> tuple[str, str] | None:
        """Module and line of the first call in which other channels are left than the labels say.

        A module of another class, or with another number of such calls, ran other code than the
        one that was traced, which tells nothing.
        """
        stays = _stays(graph, kept, labels)
        kinds = {path: type(module) for path, module in paths_of(small)}
        for key, moves in self.noted.items():
            forms = found.get(key, ())
            alike = len(forms) == self.counts[key] and kinds[key[0]] is self.kinds[key[0]]
            for move in moves if alike else ():
                if move.differs(stays, forms[move.number]):
                    return key[0], move.where
        return None


class MoveWatcher(CallWatcher):
    """Keeps the form of each view and division of a trial cut.

    Args:
        small: What is run.
    """

    def __init__(self, small: nn.Module) -> None:
        super().__init__()
        self.found: dict[Key, list[Form]] = {}
        self._names = {id(module): path for path, module in paths_of(small)}

    def answer(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of a call, whose form is kept."""
        out = func(*args, **kwargs)
        kind = _KINDS.get(func.overloadpacket.__name__)
        if kind is not None:
            key = self._running_module(), kind
            self.found.setdefault(key, []).append(_form(kind, args, out)[1])
        return out

    def _running_module(self) -> str:
        """Dotted name of the innermost module that is running; "" for the model itself."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_code is not _RUNS_MODULE:
            frame = frame.f_back
        return "" if frame is None else self._names.get(id(frame.f_locals.get("self")), "")


def _without_ones(shape: Sequence[int]) -> list[int]:
    return [size for size in shape if size != 1]


def _matters(known: Tensor, axis: int | None) -> bool:
    """Whether channels may lie along the axis that is divided, or along any of a view's."""
    axes = range(known.ndim) if axis is None else (axis,)
    return any(known.stride(a) and known.shape[a] > 1 for a in axes)


def _form(kind: str, args: Sequence[Any], out: Any) -> tuple[int | None, Form]:
    """None and the shape of a view; else the axis that is divided, and the bounds of the parts."""
    if kind == "view":
        return None, tuple(out.shape)
    place = 1 if kind in ("slice", "select") else 2
    axis: int = (args[place] if len(args) > place else 0) % args[0].ndim
    size = args[0].shape[axis]
    if kind == "select":
        return axis, (args[2] % size,)
    if kind == "slice":
        start, stop = (args[n] if len(args) > n else None for n in (2, 3))
        return axis, slice(start, stop).indices(size)[:2]
    bounds = [0]
    for part in out:
        bounds.append(bounds[-1] + part.shape[axis])
    return axis, tuple(bounds)


def _stays(graph: ChannelGraph, kept: Mapping[str, Tensor], labels: Labels) -> Tensor:
    """Whether the channel of each label stays, (labels,)."""
    stays = torch.ones(labels.count, dtype=torch.bool)
    for group in graph.prunable:
        removed = complement(kept[group.name], group.size)
        for member in group.members if len(removed) else ():
            own = labels.axis(member.tensor, member.axis)
            stays[own[member.indices[removed]]] = False
    return stays
