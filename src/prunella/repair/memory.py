"""How many samples a network can run on at once."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from prunella.core.inputs import Inputs
from prunella.core.modes import evaluating
from prunella.ops import CallWatcher

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
    widest = _Widest()
    with evaluating(model), widest:
        sample.call(model)
    return max(1, memory // max(1, _ALIVE * widest.bytes))


class _Widest(CallWatcher):
    """Finds the call that reads and gives most, weights left out as they are no activations."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def answer(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = func(*args, **kwargs)
        given = [leaf for leaf in tree_leaves(args) if isinstance(leaf, Tensor)]
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        activations = [t for t in given if not isinstance(t, nn.Parameter)] + made
        size = sum(t.numel() * t.element_size() for t in activations)
        self.bytes = max(self.bytes, size)
        return result
