"""Putting small calls of one consumer together, so that each is not dearer than its work."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from prunella.ops import Contraction

_ENOUGH = 8 << 20  # bytes of inputs and results that are worth a search of their own


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Seen:
    """What a consumer read and gave.

    Attributes:
        call: With inputs of any number of samples.
        results: What it gave, or None where that is of no use.
        signed: Whether inputs have both signs.
    """

    call: Contraction
    results: Tensor | None
    signed: bool

    @property
    def size(self) -> int:
        """Bytes of inputs and results."""
        return sum(
            tensor.numel() * tensor.element_size()
            for tensor in (self.call.inputs, self.results)
            if tensor is not None
        )


class Backlog:
    """Calls that wait for more of the same kind. Which ones wait changes no score."""

    def __init__(self, memory: int) -> None:
        self.memory = memory  # bytes that may wait
        self._waiting: dict[object, list[Seen]] = {}
        self._sizes: dict[object, int] = {}

    def add(self, seen: Seen) -> tuple[Seen, ...]:
        """Take a call in; what is to be searched now."""
        if seen.size >= _ENOUGH:
            return (seen,)
        key = _kind(seen)
        # Copies, because the model may go on to change its activations in place.
        results = None if seen.results is None else seen.results.clone()
        copy = replace(
            seen, call=replace(seen.call, inputs=seen.call.inputs.clone()), results=results
        )
        self._waiting.setdefault(key, []).append(copy)
        self._sizes[key] = self._sizes.get(key, 0) + seen.size
        ready = []
        if self._sizes[key] >= _ENOUGH:
            ready.append(self._take(key))
        # Putting calls together holds the largest of them twice.
        while self._sizes and sum(self._sizes.values()) + _ENOUGH > self.memory:
            ready.append(self._take(max(self._sizes, key=lambda name: self._sizes[name])))
        return tuple(ready)

    def rest(self) -> tuple[Seen, ...]:
        """All that still waits."""
        return tuple(self._take(key) for key in list(self._waiting))

    def _take(self, key: object) -> Seen:
        del self._sizes[key]
        parts = self._waiting.pop(key)
        if len(parts) == 1:
            return parts[0]
        results = [part.results for part in parts if part.results is not None]
        return Seen(
            call=replace(parts[0].call, inputs=torch.cat([part.call.inputs for part in parts])),
            results=torch.cat(results) if results else None,
            signed=parts[0].signed,
        )


def _kind(seen: Seen) -> object:
    call = seen.call
    return (
        call.name, call.view, call.in_axis, call.inputs.shape[1:], call.inputs.dtype, call.stride,
        call.padding, call.dilation, call.groups, call.transposed, call.output_padding,
        seen.results is None, seen.signed,
    )  # fmt: skip
