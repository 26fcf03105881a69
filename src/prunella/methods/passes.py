"""Reading the samples that a method scores with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from prunella.core.batches import Batch, read_batch
from prunella.core.errors import DataError
from prunella.core.progress import Progress, length


def batches(loader: Iterable[object], *, progress: Progress, description: str) -> Iterator[Batch]:
    """The batches of a loader that hold samples.

    Raises:
        DataError: there is none, or one holds NaN or infinite values.
    """
    empty = True
    for given in progress(loader, description=description, total=length(loader)):
        batch = read_batch(given)
        if len(batch):
            _check_finite(batch)
            empty = False
            yield batch
    if empty:
        raise DataError("the calibration loader is empty; expected at least one sample.")


def _check_finite(batch: Batch) -> None:
    for tensor in batch.inputs.tensors:
        if tensor.dtype.is_floating_point and not bool(torch.isfinite(tensor).all()):
            raise DataError(
                f"calibration samples hold NaN or infinite values (batch of shape "
                f"{tuple(tensor.shape)}); remove or repair these samples."
            )


@contextmanager
def requiring_gradients(tensors: Sequence[Tensor]) -> Iterator[None]:
    """Let tensors have gradients; their flags are restored on exit."""
    flags = [tensor.requires_grad for tensor in tensors]
    try:
        for tensor in tensors:
            tensor.requires_grad_(True)
        yield
    finally:
        for tensor, flag in zip(tensors, flags, strict=True):
            tensor.requires_grad_(flag)
