"""Putting small calls of one consumer together, so that each is not dearer than its work."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import Tensor

from prunella.ops import Contraction

_ENOUGH = 8 << 20  # bytes of inputs and results that are searched together


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
    """Calls that wait for more of the same kind. Which ones wait changes no score.

    What is handed out lies in memory that the next call of its kind is copied to.
    """

    def __init__(self, memory: int, consumers: int = 1) -> None:
        self.memory = memory  # bytes that may wait
        self.enough = min(_ENOUGH, memory // max(1, consumers))
        self._waiting: dict[object, _Waiting] = {}

    def add(self, seen: Seen) -> tuple[Seen, ...]:
        """Take a call in; what is to be searched now."""
        # What is done once for each search grows with the weights.
        enough = max(self.enough, min(seen.call.weight.numel(), self.memory // 4))
        if 2 * seen.size > enough:
            return (seen,)
        key = _kind(seen)
        ready: list[Seen] = []
        if key not in self._waiting:
            self._waiting[key] = _Waiting(seen, enough)
            while sum(each.size for each in self._waiting.values()) > self.memory:
                ready.extend(self._forget(next(iter(self._waiting))))
        waiting = self._waiting.get(key)
        if waiting is None:
            return (*ready, seen)
        waiting.take(seen)
        if waiting.is_full:
            ready.append(waiting.together())
        return tuple(ready)

    def rest(self) -> Iterator[Seen]:
        """All that still waits."""
        while self._waiting:
            yield from self._forget(next(iter(self._waiting)))

    def _forget(self, key: object) -> Iterator[Seen]:
        waiting = self._waiting.pop(key)
        if waiting.filled:
            yield waiting.together()


class _Waiting:
    """Calls of one kind, copied since the model may go on to change its activations in place.

    Zeros are put around the inputs of a convolution at once, which saves another copy.
    """

    def __init__(self, seen: Seen, enough: int) -> None:
        call, results = seen.call, seen.results
        pads = () if call.transposed else call.padding
        self.pads = tuple(pads) if any(pads) else ()
        shape = list(call.inputs.shape[1:])
        for axis, pad in enumerate(self.pads):
            shape[1 + axis] += 2 * pad
        count = len(call.inputs)
        more = math.prod(shape) - call.inputs[0].numel()
        each = seen.size // count + call.inputs.element_size() * more
        self.room = count * max(1, enough // (each * count))
        self.size = self.room * each  # bytes
        make = call.inputs.new_zeros if self.pads else call.inputs.new_empty
        self.inputs = make((self.room, *shape))
        self.results = None if results is None else results.new_empty(self.room, *results.shape[1:])
        self.first, self.filled = replace(seen, call=replace(call, inputs=self.inputs)), 0

    @property
    def is_full(self) -> bool:
        """Whether there is no room for one more."""
        return self.filled == self.room

    def take(self, seen: Seen) -> None:
        """Copy the inputs and results of a call."""
        here = slice(self.filled, self.filled + len(seen.call.inputs))
        inside = self.inputs[here]
        for axis, pad in enumerate(self.pads):
            inside = inside.narrow(2 + axis, pad, seen.call.inputs.shape[2 + axis])
        inside.copy_(seen.call.inputs.detach())
        if self.results is not None and seen.results is not None:
            self.results[here].copy_(seen.results.detach())
        self.filled = here.stop

    def together(self) -> Seen:
        """All of them as one; what comes next takes their place."""
        call, results, count = self.first.call, self.results, self.filled
        self.filled = 0
        padding = (0,) * len(self.pads) if self.pads else call.padding
        return Seen(
            call=replace(call, inputs=self.inputs[:count], padding=padding),
            results=None if results is None else results[:count],
            signed=self.first.signed,
        )


def _kind(seen: Seen) -> object:
    call = seen.call
    return (
        call.name, call.view, call.in_axis, call.inputs.shape, call.inputs.dtype, call.stride,
        call.padding, call.dilation, call.groups, call.transposed, call.output_padding,
        seen.results is None, seen.signed,
    )  # fmt: skip
