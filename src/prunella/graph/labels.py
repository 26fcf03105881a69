"""Labels of activations, and what the run learns about them.

Every position along every axis of every parameter and buffer has a label, a positive integer.
An activation carries a tensor of labels of its own shape (usually expanded from a few numbers);
0 means that a position belongs to no channel that could be removed. A tensor computed from
parameters alone carries one tensor of labels for each axis that it has of a parameter: its layers.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from prunella.core.types import Role
from prunella.graph.layout import compact, distinct, is_rising, numbers_of, shrunk, spread, thin
from prunella.graph.notes import Axis, Heads, Later, Product
from prunella.graph.splits import Split
from prunella.ops import StoredTensors, View

FIXED = 0
_CAPACITY = 1 << 12


class Labels:
    """Hands out labels, and collects ties, freezes, roles and shapes to keep during one run."""

    def __init__(self, stored: StoredTensors, *, through_norms: bool = False) -> None:
        self.stored = stored
        self.through_norms = through_norms
        self.axes: list[Axis] = []
        self.roles: dict[tuple[str, int], Role] = {}
        self.uses: dict[str, int] = {}
        self.macs = 0  # of all products, those of activations too
        self.reasons: dict[int, str] = {}  # label -> why it is frozen
        self.bindings: dict[int, str] = {}  # label -> why it was tied along an axis
        self.inexact: set[int] = set()
        self.grids: list[Tensor] = []
        self.parts: list[Tensor] = []
        self.whole: list[tuple[Tensor, tuple[int, ...], str]] = []
        self.heads: list[Heads] = []
        self.products: list[Product] = []
        self.later: list[Later] = []
        self.splits: list[Split] = []
        self.mixed: list[tuple[Tensor, tuple[int, ...]]] = []
        self._squares: dict[int, Tensor] = {}
        # NumPy: there are thousands of small steps, and a call of torch costs several of its.
        self._root = np.arange(_CAPACITY)
        self._frozen = np.zeros(_CAPACITY, dtype=np.bool_)
        self._blocks: dict[tuple[str, int], Tensor] = {}
        self._firsts: list[int] = []
        self._next = 1
        # Labels by identity; the tensors are kept so that an identity is not given out twice.
        self._of: dict[int, tuple[Tensor, Tensor]] = {}
        self._layers: dict[int, tuple[Tensor, tuple[Tensor, ...]]] = {}
        self._awaited: dict[int, tuple[Tensor, Callable[[], Tensor]]] = {}

    # -- labels of tensors -------------------------------------------------------------------

    def axis(self, tensor: str, axis: int) -> Tensor:
        """Labels of all positions along an axis of a stored tensor; shape (size,)."""
        known = self._blocks.get((tensor, axis))
        if known is not None:
            return known
        first, size = self._next, self.stored.tensors[tensor].shape[axis]
        self.axes.append(Axis(tensor=tensor, axis=axis, first=first, size=size))
        self._firsts.append(first)
        self._next += size
        self._grow()
        return self._blocks.setdefault((tensor, axis), torch.arange(first, first + size))

    def play(self, tensor: str, axis: int, role: Role) -> Tensor:
        """Labels of an axis that plays a role.

        An axis that makes channels in one place and reads them in another (a tied autoencoder) is
        frozen: it could not be masked for one use without the other.
        """
        labels = self.axis(tensor, axis)
        known = self.roles.setdefault((tensor, axis), role)
        if {known, role} == {"producer", "consumer"}:
            self.freeze(labels, f"{tensor!r} both makes and reads these channels")
        return labels

    def along(self, view: View, axis: int, size: int) -> Tensor | None:
        """Labels along one axis of a view of a stored tensor; None for an axis of its own."""
        stored_axis = view.axes[axis]
        if stored_axis is None:
            return None
        start = view.starts[axis]
        return self.axis(view.name, stored_axis)[start : start + size]

    def get(self, tensor: Tensor) -> Tensor | None:
        """Labels of an activation, or None if no position of it belongs to a channel."""
        awaited = self._awaited.pop(id(tensor), None)
        if awaited is not None:
            self.put(tensor, awaited[1]())
        entry = self._of.get(id(tensor))
        return None if entry is None else entry[1]

    def put(self, tensor: Tensor, labels: Tensor | None) -> None:
        """Attach labels of the tensor's own shape."""
        if labels is None:
            self._of.pop(id(tensor), None)
        else:
            if labels.shape != tensor.shape:
                raise ValueError(f"labels of shape {labels.shape} for {tensor.shape}")
            self._of[id(tensor)] = (tensor, thin(labels))

    def put_when_read(self, tensor: Tensor, labels: Callable[[], Tensor]) -> None:
        """Attach labels that are found, with the ties this takes, once something reads the tensor.

        What is computed and dropped, as averaged weights of attention often are, ties nothing.
        """
        self._awaited[id(tensor)] = (tensor, labels)

    def let_go(self) -> None:
        """Forget the tensors of the run; what was learnt from it stays."""
        for known in (self._of, self._layers, self._awaited, self._squares):
            known.clear()

    def layers(self, tensor: Tensor) -> tuple[Tensor, ...] | None:
        """Labels of a parameter's axes in a tensor made of parameters alone, each of its shape.

        None for an activation or a constant. A view that cannot be read axis by axis is frozen
        and has no layers.
        """
        entry = self._layers.get(id(tensor))
        if entry is not None:
            return entry[1]
        if not self.stored.holds(tensor):
            return None
        view = self.stored.locate(tensor)
        if view is None:
            for name in self.stored.names(tensor):
                self.freeze_stored(name, "part of a tensor that is used in an unforeseen form")
            return ()
        found = []
        for axis, size in enumerate(tensor.shape):
            along = self.along(view, axis, size) if size > 1 else None
            if along is not None:
                found.append(spread(along, tensor.shape, axis))
        self.put_layers(tensor, found)
        return tuple(found)

    def put_layers(self, tensor: Tensor, layers: Sequence[Tensor]) -> None:
        """Attach layers, each of the tensor's own shape."""
        self._layers[id(tensor)] = (tensor, tuple(layers))

    def carry(self, layer: Tensor, role: Role = "carrier") -> None:
        """The stored axes a layer comes from go with the channels they meet."""
        wanted = numbers_of(layer)
        wanted = wanted[wanted != FIXED]
        if not len(wanted):
            return
        first, last = (bisect_right(self._firsts, end) - 1 for end in (wanted.min(), wanted.max()))
        found = range(first, last + 1)
        if last > first + 1:
            found = distinct(np.searchsorted(self._firsts, wanted, side="right") - 1).tolist()
        for place in found:
            block = self.axes[place]
            self.roles.setdefault((block.tensor, block.axis), role)

    # -- what is learnt ----------------------------------------------------------------------

    def tie(self, a: Tensor, b: Tensor, reason: str = "") -> None:
        """The channels at equal positions must be removed together; shapes must broadcast.

        A reason is told where so many are tied that nothing is left to remove.
        """
        if a.shape != b.shape:
            a, b = torch.broadcast_tensors(a, b)
        a, b = compact(a, b)
        left, right = a.numpy().reshape(-1), b.numpy().reshape(-1)
        differ = (left != right) & (left != FIXED) & (right != FIXED)
        if not differ.all():
            left, right = left[differ], right[differ]
        if not len(left):
            return
        self._unite(self._classes(left), self._classes(right))
        if reason:
            for label in distinct(self._classes(left)).tolist():
                self.bindings.setdefault(label, reason)

    def adopt(self, tensor: str, channels: Tensor) -> bool:
        """Tie a vector that nothing has met so far to channels, (C,); whether it was such a one.

        As `tie` of the two; but its labels are the largest, and their classes can be told at once.
        """
        if (tensor, 0) in self._blocks:
            return False
        own = self.axis(tensor, 0).numpy()
        classes = self._classes(channels.numpy())
        self._root[own] = np.where(classes == FIXED, own, classes)
        return True

    def tie_along(self, labels: Tensor, axes: Sequence[int], reason: str) -> Tensor:
        """Tie all positions along the axes; the labels with these axes reduced to length 1.

        Channels that would be tied to positions of fixed number are frozen.
        """
        first = labels
        for axis in axes:
            first = first.narrow(axis, 0, 1)
        if self.constant_along(labels, axes) is None:
            self.tie(labels, first, reason)
            (small,) = compact(labels)
            held = (small == FIXED).any(dim=tuple(axes), keepdim=True)
            self.freeze(torch.where(held, small, FIXED), reason)
        return first

    def constant_along(self, labels: Tensor, axes: Sequence[int]) -> Tensor | None:
        """The labels with the axes reduced to length 1, or None if channels vary along one."""
        if all(labels.stride(axis) == 0 or labels.shape[axis] == 1 for axis in axes):
            return shrunk(labels, axes)
        for axis in axes:
            first = labels.narrow(axis, 0, 1)
            if labels.stride(axis) != 0 and labels.shape[axis] > 1:
                if self._vary_at_once(labels, axis):
                    return None
                a, b = compact(labels, first.expand_as(labels))
                if not torch.equal(a, b) and not torch.equal(self.classes(a), self.classes(b)):
                    return None
            labels = first
        return labels

    def _vary_at_once(self, labels: Tensor, axis: int) -> bool:
        """Whether the first two positions of an axis tell already that channels vary along it."""
        if not labels.numel():
            return False
        two = labels.as_strided((2,), (labels.stride(axis),), labels.storage_offset()).numpy()
        classes = self._classes(two)
        return bool(classes[0] != classes[1])

    def freeze(self, labels: Tensor, reason: str) -> None:
        """Nothing that carries one of these labels may be removed; the first reason is kept."""
        found = distinct(self._classes(numbers_of(labels)))
        found = found[(found != FIXED) & ~self._frozen[found]]
        self._frozen[found] = True
        for label in found.tolist():
            self.reasons[label] = reason

    def require_whole(self, labels: Tensor, axes: Sequence[int], reason: str) -> None:
        """The axes keep their length; at the end of the run channels along them are frozen.

        Later operations may still tie them: the positions of a head, say, go all together.
        """
        for axis in range(labels.ndim):
            if axis not in axes and labels.stride(axis) == 0:
                labels = labels.narrow(axis, 0, min(1, labels.shape[axis]))
        self.whole.append((labels, tuple(axes), reason))

    def freeze_stored(self, name: str, reason: str) -> None:
        """Freeze all axes of a stored tensor."""
        for axis in range(self.stored.tensors[name].ndim):
            self.freeze(self.axis(name, axis), reason)

    def is_frozen(self, labels: Tensor) -> bool:
        """Whether every channel among the labels is frozen already."""
        return not bool(self.movable(compact(labels)[0]).any())

    def is_one_unit(self, labels: Tensor) -> bool:
        """Whether all positions belong to one and the same unit."""
        numbers = numbers_of(labels)
        if not len(numbers) or numbers[0] == FIXED:
            return False
        for some in (numbers[:2], numbers):  # the first two tell most often
            classes = self._classes(some)
            if not (classes == classes[0]).all():
                return False
        return True

    def movable(self, labels: Tensor) -> Tensor:
        """Where the labels are those of channels that nothing has frozen so far."""
        classes = self.classes(labels)
        return (classes != FIXED) & ~torch.from_numpy(self._frozen)[classes]

    def mark_mixed(self, labels: Tensor, axes: Sequence[int]) -> None:
        """Removing one of the channels along the axes changes what is computed from the others.

        Channels that are one unit by the end of the run are not meant.
        """
        self.mixed.append((labels, tuple(axes)))

    def mark_square(self, tensor: Tensor) -> None:
        """Remember that a tensor is a square; its mean is that of a root-mean-square norm."""
        self._squares[id(tensor)] = tensor

    def is_square(self, tensor: Tensor) -> bool:
        """Whether `mark_square` was called with this tensor."""
        return id(tensor) in self._squares

    def use(self, name: str, macs: int) -> None:
        """Count multiply-adds in which a stored tensor takes part, all its elements together."""
        self.uses[name] = self.uses.get(name, 0) + macs

    @property
    def count(self) -> int:
        """One more than the largest label."""
        return self._next

    def classes(self, labels: Tensor) -> Tensor:
        """The smallest label of each label's class of tied ones."""
        return torch.from_numpy(self._classes(labels.numpy()))

    def _classes(self, labels: np.ndarray) -> np.ndarray:
        found: np.ndarray = self._root[labels]
        while True:
            above = self._root[found]
            if (above == found).all():
                return found
            found = above

    def _unite(
        self,
        left: np.ndarray,  # (pairs,) classes
        right: np.ndarray,  # (pairs,)
    ) -> None:
        if is_rising(left) and is_rising(right) and (left[-1] < right[0] or right[-1] < left[0]):
            # Each class has one partner: nothing to search for.
            low, high = (left, right) if left[0] < right[0] else (right, left)
            self._root[high] = low
            self._frozen[low] |= self._frozen[high]
            return
        before = np.concatenate([left, right])
        held = before[self._frozen[before]]
        while True:
            differ = left != right
            if not differ.any():
                break
            left, right = left[differ], right[differ]
            # A class hangs on the smallest of its partners, so the smallest of all ends as root.
            np.minimum.at(self._root, np.maximum(left, right), np.minimum(left, right))
            left, right = self._classes(left), self._classes(right)
        self._root[before] = self._classes(before)
        self._frozen[self._root[held]] = True

    def _grow(self) -> None:
        size = len(self._root)
        if self._next >= size:
            grown = max(2 * size, self._next + 1)
            self._root = np.concatenate([self._root, np.arange(size, grown)])
            more = np.zeros(grown - size, dtype=np.bool_)
            self._frozen = np.concatenate([self._frozen, more])
