"""What the consumers read, and how much their outputs matter, summed over one pass."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from prunella.core.types import ChannelGraph, ChannelGroup
from prunella.methods.passes import Readers, generators_for, readers_of
from prunella.methods.surgeon import Correlated, System, Uncorrelated
from prunella.ops import (
    CallWatcher,
    PlainCall,
    StoredTensors,
    contraction_of,
    derivative_of,
    input_view,
    plain_calls,
    random_places,
    rows_at,
)

MOST = 8_192  # inputs of a consumer whose units can make up for each other
_POSITIONS = 64  # of each sample


class Reads(CallWatcher):
    """Sums the products of what every consumer reads, at random places, and its gradients."""

    def __init__(self, model: nn.Module, graph: ChannelGraph, generator: torch.Generator) -> None:
        super().__init__()
        self.stored = StoredTensors(model)
        self.samples = 0
        self.in_backward = False
        self.parts: dict[tuple[str, int, int], _Part] = {}
        self.readers = readers_of(graph)
        self.axes: dict[str, int] = dict(iter(self.readers))
        # Sum of squared gradients over samples, positions and outputs, and the number of outputs.
        self.gradients: dict[str, float] = defaultdict(float)
        self.outputs: dict[str, int] = {}
        self.generators = generators_for(self.readers, generator)

    @contextmanager
    def forwards(self, samples: int) -> Iterator[None]:
        """Watch a forward pass of some samples."""
        self.samples = samples
        self.in_backward = False
        with self:
            yield

    @contextmanager
    def backwards(self) -> Iterator[None]:
        """Watch the backward pass."""
        self.in_backward = True
        with self:
            yield

    def answer(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Let the call through, and add what it tells."""
        if self.in_backward:
            self._add_gradient(func, args)
        else:
            self._add_rows(func, args)
        return func(*args, **kwargs)

    def _add_rows(self, func: Any, args: tuple[Any, ...]) -> None:
        call = contraction_of(func, args, self.stored)
        key = None if call is None else (call.name, call.in_axis)
        if call is None or key is None or key not in self.readers:
            return
        self.outputs[call.name] = self.stored.tensors[call.name].shape[call.out_axis] * (
            call.groups if call.transposed else 1
        )
        for part in plain_calls(call):
            count = self.samples * _POSITIONS
            view = input_view(part.call)
            where = view.shape[: 1 + part.call.spatial]
            places = random_places(where, count, self.generators[key])
            name = (*key, part.number)
            if name not in self.parts:
                self.parts[name] = _Part(part, self.readers[key])
            self.parts[name].add(rows_at(view, places).detach().float())

    def _add_gradient(self, func: Any, args: tuple[Any, ...]) -> None:
        found = derivative_of(func, args, self.stored, self.axes)
        if found is not None:
            name, derivative = found
            self.gradients[name] += float(derivative.double().square().sum())

    def systems(self, group: ChannelGroup, per_sample: float) -> list[System]:
        """All parts of consumers that read the group.

        Args:
            group: Whose units may go.
            per_sample: What a squared change of the outputs of 1, summed over all samples, counts.
        """
        found = []
        for (name, _, _), part in self.parts.items():
            if group.name in part.units:
                # Mean over outputs of the squared gradient of all samples, over rows.
                matters = self.gradients[name] / self.outputs[name] / part.rows
                found.append(part.system(group.name, group.size, matters * per_sample))
        return found


class _Part:
    """Sums over rows for one group of a consumer's call."""

    def __init__(self, part: PlainCall, readers: Readers) -> None:
        call = part.call
        # (inputs, outputs): a convolution's kernel entries are inputs of their own.
        matrix = call.weight if call.spatial == 0 else call.weight.flatten(1).t()
        self.weight = matrix.detach().double().cpu()
        self.rows = 0
        self.correlated = len(self.weight) <= MOST
        self.units: dict[str, Tensor] = {}
        self.blocks: dict[str, Tensor] = {}
        # (inputs, inputs) under the name "", or (units, k, k) for each group.
        self.grams: dict[str, Tensor] = {}
        each = len(self.weight) // part.size
        for group, member in readers:
            places = member.indices - part.first
            inside = (places >= 0) & (places < part.size)
            units = inside.any(dim=1).nonzero().reshape(-1)
            if len(units):
                # Units of one group own equally many positions of every part that reads them.
                own = places[units][inside[units]].reshape(len(units), -1, 1)
                self.units[group.name] = units
                self.blocks[group.name] = (own * each + torch.arange(each)).flatten(1)

    def add(self, rows: Tensor) -> None:
        """Rows (n, inputs) of what is read."""
        self.rows += len(rows)
        if self.correlated:
            self._plus("", (rows.t() @ rows).cpu().double())
            return
        for name, blocks in self.blocks.items():
            own = rows[:, blocks.to(rows.device)].transpose(0, 1)  # (units, n, k)
            self._plus(name, (own.transpose(1, 2) @ own).cpu().double())

    def _plus(self, name: str, gram: Tensor) -> None:
        if name in self.grams:
            self.grams[name] += gram
        else:
            self.grams[name] = gram

    def system(self, name: str, size: int, scale: float) -> System:
        """The part as it sees the units of a group of some size."""
        units, blocks = self.units[name], self.blocks[name]
        if self.correlated:
            inner: System = Correlated(self.grams[""], self.weight, blocks, scale)
        else:
            inner = Uncorrelated(self.grams[name], self.weight[blocks], scale)
        return inner if len(units) == size else _Some(inner, units, size)


class _Some:
    """A system that reads some units of a group only."""

    def __init__(self, inner: System, units: Tensor, size: int) -> None:
        self.inner = inner
        self.place = torch.full((size,), -1)
        self.place[units] = torch.arange(len(units))

    def losses(self, units: Tensor) -> Tensor:
        return self._of_those_read(units, self.inner.losses)

    def remove(self, units: Tensor) -> Tensor:
        return self._of_those_read(units, self.inner.remove)

    def shrink(self) -> None:
        self.inner.shrink()

    def _of_those_read(self, units: Tensor, values: Callable[[Tensor], Tensor]) -> Tensor:
        places = self.place[units]
        read = places >= 0
        found = torch.zeros(len(units), dtype=torch.float64)
        if read.any():
            found[read] = values(places[read])
        return found
