"""Recognising a model's parameters and buffers, and views of them, among call arguments."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from prunella.ops.walks import paths_of, tensors_of


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A tensor that shows (part of) one stored tensor.

    Attributes:
        name: Dotted name of the parameter or buffer.
        axes: For each axis of the view, the axis of the stored tensor that it runs along, or None
            for an axis of length 1 that belongs to none.
        starts: For each axis of the view, the first position on the stored tensor's axis.
    """

    name: str
    axes: tuple[int | None, ...]
    starts: tuple[int, ...]


class StoredTensors:
    """The parameters and buffers of one model, found again by the memory they live in.

    Views made on the way (transposed linear weights, slices of a fused projection) share the
    memory of their parameter, so geometry alone tells which positions they show.

    Attributes:
        tensors: Each once, by the first of its names.
        aliases: The first name for every name.
        parameters: Every name of a parameter.
    """

    def __init__(self, model: nn.Module) -> None:
        self.tensors: dict[str, Tensor] = {}
        self.aliases: dict[str, str] = {}
        self._by_memory: dict[int, list[str]] = {}
        first: dict[int, str] = {}
        paths = paths_of(model, each_once=False)
        parameters = list(tensors_of(paths, "_parameters"))
        self.parameters = frozenset(name for name, _ in parameters)
        for name, tensor in (*parameters, *tensors_of(paths, "_buffers")):
            owner = first.setdefault(id(tensor), name)
            self.aliases[name] = owner
            if owner == name:
                self.tensors[name] = tensor
                self._by_memory.setdefault(_memory(tensor), []).append(name)
        self._by_identity = first  # the tensors are kept, so none of these is given out again

    def holds(self, tensor: Tensor) -> bool:
        """Whether a tensor lives in the memory of some parameter or buffer."""
        return _memory(tensor) in self._by_memory

    def names(self, tensor: Tensor) -> tuple[str, ...]:
        """The stored tensors that live in the same memory."""
        return tuple(self._by_memory.get(_memory(tensor), ()))

    def name_of(self, tensor: Tensor) -> str | None:
        """First name of a parameter or buffer; None for a view, or where others share memory."""
        name = self._by_identity.get(id(tensor))
        return name if name is not None and len(self.names(tensor)) == 1 else None

    def locate(self, tensor: Tensor) -> View | None:
        """Which stored tensor this is a view of, or None if that cannot be said axis by axis."""
        for name in self.names(tensor):
            view = _match(tensor, name, self.tensors[name])
            if view is not None:
                return view
        return None


def _memory(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _match(view: Tensor, name: str, stored: Tensor) -> View | None:
    same = (
        view.shape == stored.shape
        and view.stride() == stored.stride()
        and view.storage_offset() == stored.storage_offset()
    )
    if same:
        return View(name=name, axes=tuple(range(view.ndim)), starts=(0,) * view.ndim)
    offset = view.storage_offset() - stored.storage_offset()
    starts = _positions(int(offset), stored)
    if starts is None:
        return None
    axes: list[int | None] = [None] * view.ndim
    free = set(range(stored.ndim))
    # Longest axes first: an axis of length 1 fits anywhere and must not take another's place.
    for axis in sorted(range(view.ndim), key=lambda a: -int(view.shape[a])):
        if view.shape[axis] == 1:
            continue
        fits = [
            a
            for a in sorted(free)
            if stored.stride()[a] == view.stride()[axis]
            and starts[a] + view.shape[axis] <= stored.shape[a]
        ]
        if not fits:
            return None
        axes[axis] = fits[0]
        free.discard(fits[0])
    ones = [a for a in range(view.ndim) if view.shape[a] == 1]
    for axis, rest in zip(ones, sorted(free), strict=False):
        axes[axis] = rest
    return View(
        name=name,
        axes=tuple(axes),
        starts=tuple(0 if a is None else starts[a] for a in axes),
    )


def _positions(offset: int, stored: Tensor) -> list[int] | None:
    """The position on each axis of a stored tensor at which a memory offset lies."""
    if offset < 0:
        return None
    starts = [0] * stored.ndim
    for axis in sorted(range(stored.ndim), key=lambda a: -int(stored.stride()[a])):
        if stored.shape[axis] > 1 and stored.stride()[axis] > 0:
            starts[axis], offset = divmod(offset, stored.stride()[axis])
            if starts[axis] >= stored.shape[axis]:
                return None
    return starts if offset == 0 else None
