"""Labels of activations, and what the run learns about them.

Every position along every axis of every parameter and buffer has a label, a positive integer.
An activation carries a tensor of labels of its own shape (usually expanded from a few numbers);
0 means that a position belongs to no channel that could be removed. A tensor computed from
parameters alone carries one tensor of labels for each axis that it has of a parameter: its layers.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from prunella.core.types import Role
from prunella.graph.splits import Split
from prunella.ops import StoredTensors, View

FIXED = 0
_CAPACITY = 1 << 12
_LARGE = 1 << 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """The block of labels of one axis of one stored tensor: first, first + 1, ..."""

    tensor: str
    axis: int
    first: int
    size: int


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Heads:
    """Equal blocks of one activation axis that were contracted one by one, as attention does.

    Attributes:
        module: Dotted name of the module that did it.
        labels: (heads,) one label of each head.
        width: Positions of one head.
    """

    module: str
    labels: Tensor
    width: int


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Product:
    """A product of two activations; the work goes down with the channels that it is done for.

    Attributes:
        labels: (positions,) labels that do equal shares of it.
        macs: Multiply-adds.
    """

    labels: Tensor
    macs: int


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Later:
    """A parameter that meets different channels at one position; decided at the end of the run.

    Attributes:
        result: Labels of the channels.
        wide: The parameter's labels in the same shape.
        layer: The parameter's labels in its own shape.
        axes: Axes of the result along which the parameter extends.
        reason: Why the parameter's axis is frozen if no channels are left along it.
    """

    result: Tensor
    wide: Tensor
    layer: Tensor
    axes: list[int]
    reason: str


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
        self._root = torch.arange(_CAPACITY)
        self._frozen = torch.zeros(_CAPACITY, dtype=torch.bool)
        self._blocks: dict[tuple[str, int], Axis] = {}
        self._firsts: list[int] = []
        self._next = 1
        # Labels by identity; the tensors are kept so that an identity is not given out twice.
        self._of: dict[int, tuple[Tensor, Tensor]] = {}
        self._layers: dict[int, tuple[Tensor, tuple[Tensor, ...]]] = {}
        self._awaited: dict[int, tuple[Tensor, Callable[[], Tensor]]] = {}

    # -- labels of tensors -------------------------------------------------------------------

    def axis(self, tensor: str, axis: int) -> Tensor:
        """Labels of all positions along an axis of a stored tensor; shape (size,)."""
        block = self._blocks.get((tensor, axis))
        if block is None:
            size = self.stored.tensors[tensor].shape[axis]
            block = Axis(tensor=tensor, axis=axis, first=self._next, size=size)
            self._blocks[tensor, axis] = block
            self.axes.append(block)
            self._firsts.append(block.first)
            self._next += size
            self._grow()
        return torch.arange(block.first, block.first + block.size)

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
        return tuple(found)

    def put_layers(self, tensor: Tensor, layers: Sequence[Tensor]) -> None:
        """Attach layers, each of the tensor's own shape."""
        self._layers[id(tensor)] = (tensor, tuple(layers))

    def carry(self, layer: Tensor, role: Role = "carrier") -> None:
        """The stored axes a layer comes from go with the channels they meet."""
        (small,) = compact(layer)
        wanted = small[small != FIXED]
        if wanted.numel() == 0:
            return
        ends = (bisect_right(self._firsts, int(end)) - 1 for end in torch.aminmax(wanted))
        first, last = ends
        found = range(first, last + 1)
        if last > first + 1:
            firsts = torch.tensor(self._firsts)
            places = torch.searchsorted(firsts, wanted.contiguous(), right=True) - 1
            found = torch.unique(places).tolist()
        for place in found:
            block = self.axes[place]
            self.roles.setdefault((block.tensor, block.axis), role)

    # -- what is learnt ----------------------------------------------------------------------

    def tie(self, a: Tensor, b: Tensor, reason: str = "") -> None:
        """The channels at equal positions must be removed together; shapes must broadcast.

        A reason is told where so many are tied that nothing is left to remove.
        """
        a, b = compact(*torch.broadcast_tensors(a, b))
        differ = (a != b) & (a != FIXED) & (b != FIXED)
        pairs = torch.stack([a[differ], b[differ]], dim=1)
        if len(pairs) == 0:
            return
        self._unite(self.classes(pairs))
        if reason:
            for label in torch.unique(self.classes(pairs)).tolist():
                self.bindings.setdefault(label, reason)

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
        for axis in axes:
            first = labels.narrow(axis, 0, 1)
            if labels.stride(axis) != 0 and labels.shape[axis] > 1:
                a, b = compact(labels, first.expand_as(labels))
                if not torch.equal(a, b) and not torch.equal(self.classes(a), self.classes(b)):
                    return None
            labels = first
        return labels

    def freeze(self, labels: Tensor, reason: str) -> None:
        """Nothing that carries one of these labels may be removed; the first reason is kept."""
        (small,) = compact(labels)
        found = torch.unique(self.classes(small))
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
        classes = torch.unique(self.classes(compact(labels)[0]))
        return len(classes) == 1 and int(classes) != FIXED

    def movable(self, labels: Tensor) -> Tensor:
        """Where the labels are those of channels that nothing has frozen so far."""
        classes = self.classes(labels)
        return (classes != FIXED) & ~self._frozen[classes]

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
        found = self._root[labels]
        while True:
            above = self._root[found]
            if torch.equal(above, found):
                return found
            found = above

    def _unite(
        self,
        pairs: Tensor,  # (pairs, 2)
    ) -> None:
        codes = torch.unique(pairs[:, 0] * self._next + pairs[:, 1])
        pairs = torch.stack([codes // self._next, codes % self._next], dim=1)
        ids, place = torch.unique(pairs, return_inverse=True)
        if len(ids) == pairs.numel():  # each class has one partner: nothing to search for
            low, high = pairs.amin(1), pairs.amax(1)
            self._root[high] = low
            self._frozen[low] |= self._frozen[high]
            return
        ones = torch.ones(len(pairs), dtype=torch.int8).numpy()
        rows, columns = place[:, 0].numpy(), place[:, 1].numpy()
        matrix = coo_array((ones, (rows, columns)), shape=(len(ids), len(ids)))
        parts, of = connected_components(matrix, directed=False)
        part = torch.from_numpy(of).long()
        lowest = torch.full((parts,), self._next).scatter_reduce(0, part, ids, "amin")
        frozen = torch.zeros(parts, dtype=torch.int8)
        frozen = frozen.scatter_reduce(0, part, self._frozen[ids].to(torch.int8), "amax")
        self._root[ids] = lowest[part]
        self._frozen[lowest] = frozen.bool()

    def _grow(self) -> None:
        size = len(self._root)
        if self._next >= size:
            grown = max(2 * size, self._next + 1)
            self._root = torch.cat([self._root, torch.arange(size, grown)])
            more = torch.zeros(grown - size, dtype=torch.bool)
            self._frozen = torch.cat([self._frozen, more])


def compact(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Shrink axes along which all tensors (of one shape) merely repeat themselves to length 1."""
    first = tensors[0]
    for axis in range(first.ndim):
        if first.shape[axis] > 1 and all(t.stride(axis) == 0 for t in tensors):
            tensors = tuple(t.narrow(axis, 0, 1) for t in tensors)
    return tensors


def thin(labels: Tensor) -> Tensor:
    """The same labels, expanded where a large copy merely repeats them along an axis."""
    stored = math.prod(
        size for size, step in zip(labels.shape, labels.stride(), strict=True) if step
    )
    if stored < _LARGE:
        return labels
    found = labels
    for axis in range(labels.ndim):
        first = found.narrow(axis, 0, 1)
        if found.stride(axis) and torch.equal(*compact(found, first.expand_as(found))):
            found = first
    return found.expand(labels.shape)


def spread(
    channels: Tensor,  # (size,)
    shape: Sequence[int],
    axis: int,
) -> Tensor:
    """Labels of channels along one axis, repeated along all others."""
    own = [1] * len(shape)
    own[axis] = -1
    return channels.view(own).expand(tuple(shape))


def varying_axes(labels: Tensor) -> list[int]:
    """Axes along which the labels as numbers are not all the same."""
    return [
        axis
        for axis in range(labels.ndim)
        if labels.shape[axis] > 1
        and labels.stride(axis) != 0
        and not torch.equal(*compact(labels, labels.narrow(axis, 0, 1).expand_as(labels)))
    ]
