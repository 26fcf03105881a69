"""How many samples a network can run on at once."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from prunella.core.inputs import Inputs
from prunella.core.modes import evaluating
from prunella.ops import CallWatcher, StoredTensors

# Beside what a call reads and gives, branches wait to be joined and freed memory is not reused.
_ALIVE = 3


def samples_within(
    model: nn.Module,
    sample: Inputs,
    memory: int,
) -> int:
    """Samples whose activations fit, at least 1.

    Args:
        model: Untouched.
        sample: One sample, as a batch.
        memory: Bytes.
    """
    widest = _Widest(model)
    with evaluating(model), widest:
        sample.call(model)
    return max(1, memory // max(1, _ALIVE * widest.bytes))


class _Widest(CallWatcher):
    """Finds the call that reads and gives most, weights left out as they are no activations."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.stored = StoredTensors(model)
        self.bytes = 0

    def answer(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = func(*args, **kwargs)
        seen = [leaf for leaf in tree_leaves((args, result)) if isinstance(leaf, Tensor)]
        activations = [tensor for tensor in seen if not self.stored.holds(tensor)]
        size = sum(tensor.numel() * tensor.element_size() for tensor in activations)
        self.bytes = max(self.bytes, size)
        return result
