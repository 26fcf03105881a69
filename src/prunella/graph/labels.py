"""Labels of activations, and what the run learns about them.

Every position along every axis of every parameter and buffer has a label, a positive integer.
An activation carries a tensor of labels of its own shape (usually expanded from a few numbers);
0 means that a position belongs to no channel that could be removed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from prunella.core.types import Role
from prunella.ops import StoredTensors, View

FIXED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """The block of labels of one axis of one stored tensor: first, first + 1, ..."""

    tensor: str
    axis: int
    first: int
    size: int


class Labels:
    """Hands out labels, and collects ties, freezes and roles during one run."""

    def __init__(self, stored: StoredTensors) -> None:
        self.stored = stored
        self.axes: list[Axis] = []
        self.roles: dict[tuple[str, int], Role] = {}
        self.uses: dict[str, int] = {}
        self.frozen: dict[int, str] = {}
        self._ties: list[np.ndarray[tuple[int, int], np.dtype[np.int64]]] = []
        self._blocks: dict[tuple[str, int], Axis] = {}
        self._next = 1
        # Labels by identity; the tensors are kept so that an identity is not given out twice.
        self._of: dict[int, tuple[Tensor, Tensor]] = {}

    # -- labels of tensors -------------------------------------------------------------------

    def axis(self, tensor: str, axis: int) -> Tensor:
        """Labels of all positions along an axis of a stored tensor; shape (size,)."""
        block = self._blocks.get((tensor, axis))
        if block is None:
            size = self.stored.tensors[tensor].shape[axis]
            block = Axis(tensor=tensor, axis=axis, first=self._next, size=size)
            self._blocks[tensor, axis] = block
            self.axes.append(block)
            self._next += size
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
        entry = self._of.get(id(tensor))
        return None if entry is None else entry[1]

    def put(self, tensor: Tensor, labels: Tensor | None) -> None:
        """Attach labels of the tensor's own shape."""
        if labels is None:
            self._of.pop(id(tensor), None)
        else:
            if labels.shape != tensor.shape:
                raise ValueError(f"labels of shape {labels.shape} for {tensor.shape}")
            self._of[id(tensor)] = (tensor, labels)

    # -- what is learnt ----------------------------------------------------------------------

    def tie(self, a: Tensor, b: Tensor) -> None:
        """The channels at equal positions must be removed together; shapes must broadcast."""
        a, b = compact(*torch.broadcast_tensors(a, b))
        differ = a != b
        pairs = torch.stack([a[differ], b[differ]], dim=1)
        pairs = pairs[(pairs != FIXED).all(dim=1)]
        if len(pairs):
            self._ties.append(torch.unique(pairs, dim=0).numpy())

    def freeze(self, labels: Tensor, reason: str) -> None:
        """Nothing that carries one of these labels may be removed; the first reason is kept."""
        (small,) = compact(labels)
        for label in torch.unique(small).tolist():
            if label != FIXED:
                self.frozen.setdefault(label, reason)

    def freeze_stored(self, name: str, reason: str) -> None:
        """Freeze all axes of a stored tensor."""
        for axis in range(self.stored.tensors[name].ndim):
            self.freeze(self.axis(name, axis), reason)

    def use(self, name: str, macs: int) -> None:
        """Count multiply-adds in which each element of a stored tensor takes part."""
        self.uses[name] = self.uses.get(name, 0) + macs

    @property
    def count(self) -> int:
        """One more than the largest label."""
        return self._next

    @property
    def ties(self) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
        """All ties as pairs of labels, shape (pairs, 2)."""
        return np.concatenate([np.empty((0, 2), np.int64), *self._ties])


def compact(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Shrink axes along which all tensors (of one shape) merely repeat themselves to length 1."""
    first = tensors[0]
    for axis in range(first.ndim):
        if first.shape[axis] > 1 and all(t.stride(axis) == 0 for t in tensors):
            tensors = tuple(t.narrow(axis, 0, 1) for t in tensors)
    return tensors


def constant_along(labels: Tensor, axes: list[int]) -> Tensor | None:
    """Labels with the given axes reduced to length 1, or None if they vary along one of them."""
    for axis in axes:
        first = labels.narrow(axis, 0, 1)
        if labels.stride(axis) != 0 and labels.shape[axis] > 1:
            a, b = compact(labels, first.expand_as(labels))
            if not torch.equal(a, b):
                return None
        labels = first
    return labels
