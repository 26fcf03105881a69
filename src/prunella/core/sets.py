"""What sets of samples in memory have in common: positions in them, and loaders over them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from prunella.core.errors import DataError

B = TypeVar("B")
_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def is_outside(
    numbers: Tensor,  # (...,) integers
    low: int,
    high: int,
) -> bool:
    """Whether any of the numbers is below `low` or above `high`."""
    return bool(numbers.numel()) and not low <= int(numbers.min()) <= int(numbers.max()) <= high


def positions(
    indices: Tensor | Sequence[int],  # (n,) integers
    count: int,
    *,
    name: str,
    what: str,
) -> Tensor:  # (n,) int64
    """Positions in a set of `count` samples; negative ones count from its end.

    Args:
        indices: The positions, any integers.
        count: How many samples there are.
        name: Of the set, for messages.
        what: Its samples, in the plural.

    Raises:
        DataError: these are no integers of one axis, or lie outside of the set.
    """
    index = torch.as_tensor(indices)
    if not index.numel():
        index = index.long()  # an empty list has no type of its own
    if index.ndim != 1 or index.dtype not in _INTEGERS:
        raise DataError(
            f"{name}: indices are {index.dtype} of shape {tuple(index.shape)}; expected "
            "a list of integers (turn a mask into positions with nonzero().flatten())."
        )
    if is_outside(index, -count, count - 1):
        raise DataError(
            f"{name}: indices run from {int(index.min())} to {int(index.max())}, but "
            f"there are {count} {what}."
        )
    return index.long()


def whole_batches(
    dataset: Dataset[B],
    batch_size: int,
    *,
    name: str,
    what: str,
    shuffle: bool,
    generator: torch.Generator | None,
) -> DataLoader[B]:
    """A loader over a data set whose `__getitems__` puts a batch together at once.

    Args:
        dataset: Knows its length.
        batch_size: Samples in a batch, at least 1.
        name: Of the set, for messages.
        what: One of its samples.
        shuffle: Whether every pass has an order of its own.
        generator: Draws it; None for torch's global one.

    Raises:
        DataError: there are no samples, or the batch size is not positive.
    """
    if batch_size < 1:
        raise DataError(f"{name}: batch size must be at least 1, got {batch_size}.")
    if not len(dataset):  # type: ignore[arg-type]
        raise DataError(f"{name}: the set is empty; expected at least one {what}.")
    return DataLoader(
        dataset, batch_size=batch_size, shuffle=shuffle, generator=generator, collate_fn=_same
    )


def _same(batch: Any) -> Any:
    # the batch is already put together
    return batch
