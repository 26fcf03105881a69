"""How many samples a repair takes, and how many a network can run on at once."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from prunella.core.inputs import Inputs
from prunella.core.modes import evaluating, full_precision
from prunella.ops import CallWatcher, StoredTensors, contraction_of, has_plain_rows, input_view

# Beside what a call reads and gives, branches wait to be joined and freed memory is not reused.
_ALIVE = 3
_AT_ONCE = 64  # samples in one backward pass
_ROWS_PER_INPUT = 32  # with so many equations for each unknown, chance adds 3 % to the error


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What one sample takes and gives.

    Attributes:
        bytes: Of activations, at the call that reads and gives most.
        bytes_kept: Of activations, of all calls together, as a backward pass needs them.
        samples: That make enough equations for the consumer with most inputs to each position.
    """

    bytes: int
    bytes_kept: int
    samples: int

    def within(self, memory: int) -> int:
        """Samples whose activations fit into so many bytes, at least 1."""
        return max(1, memory // max(1, _ALIVE * self.bytes))

    def backwards_within(self, memory: int) -> int:
        """The same for a backward pass; not more at once than there is any use in."""
        return min(_AT_ONCE, max(1, memory // max(1, self.bytes_kept)))


def needs_of(
    model: nn.Module,
    sample: Inputs,
    consumers: Collection[str],
) -> Needs:
    """Run a network on one sample and see what a repair of it needs.

    Args:
        model: Untouched.
        sample: One sample, as a batch.
        consumers: Names of the weights that are solved again; those that are grouped or transposed
            keep their values and count for nothing.
    """
    watcher = _Sizes(model, consumers)
    with evaluating(model), full_precision(sample.tensors[0].device), watcher:
        sample.call(model)
    return Needs(bytes=watcher.bytes, bytes_kept=watcher.kept, samples=watcher.samples)


class _Sizes(CallWatcher):
    """Measures calls; weights are left out, as they are no activations."""

    def __init__(self, model: nn.Module, consumers: Collection[str]) -> None:
        super().__init__()
        self.stored = StoredTensors(model)
        self.consumers = consumers
        self.bytes = 0
        self.kept = 0
        self.samples = 0

    def answer(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = contraction_of(func, args, self.stored)
        wanted = call is not None and call.name in self.consumers
        if call is not None and wanted and has_plain_rows(call, self.stored):
            shape = input_view(call).shape
            rows, inputs = (
                math.prod(shape[: 1 + call.spatial]),
                math.prod(shape[1 + call.spatial :]),
            )
            self.samples = max(self.samples, math.ceil(_ROWS_PER_INPUT * inputs / rows))
        result = func(*args, **kwargs)
        given = self._size(result)
        self.bytes = max(self.bytes, self._size(args) + given)
        self.kept += given
        return result

    def _size(self, of: object) -> int:
        """Bytes of tensors, weights left out."""
        seen = [leaf for leaf in tree_leaves(of) if isinstance(leaf, Tensor)]
        activations = [tensor for tensor in seen if not self.stored.holds(tensor)]
        return sum(tensor.numel() * tensor.element_size() for tensor in activations)
