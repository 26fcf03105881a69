"""Networks with as many parameters as another."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from prunella.core.errors import InputError

_MOST = 1 << 14


def parameter_count(model: nn.Module) -> int:
    """Numbers that are learnt."""
    return sum(parameter.numel() for parameter in model.parameters())


def hidden_size_for(parameters: int, build: Callable[[int], nn.Module]) -> int:
    """The hidden size whose network comes nearest to a number of parameters.

    Args:
        parameters: The number.
        build: A network for a hidden size; its parameters must not fall with the size. It is
            called with memory for no numbers, so it must not look at its weights.

    Raises:
        InputError: no hidden size up to 16,384 has as many.
    """

    def count(hidden: int) -> int:
        with torch.device("meta"):
            return parameter_count(build(hidden))

    low, high = 1, 1
    while count(high) < parameters and high < _MOST:
        low, high = high, 2 * high
    if count(high) < parameters:
        raise InputError(
            f"{parameters:,} parameters are more than a hidden size of {high:,} has "
            f"({count(high):,}); compare with a smaller network."
        )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) < parameters else (low, middle)
    return min((low, high), key=lambda hidden: abs(count(hidden) - parameters))
