"""Reading the samples that a method scores with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from prunella.core.batches import Batch, read_batch
from prunella.core.errors import DataError
from prunella.core.inputs import Inputs
from prunella.core.progress import Progress, length


def samples(loader: Iterable[object], *, progress: Progress, description: str) -> Iterator[Batch]:
    """The batches of a loader that hold samples.

    Raises:
        DataError: there is none, or one holds NaN or infinite values.
    """
    empty = True
    for given in progress(loader, description=description, total=length(loader)):
        batch = read_batch(given)
        if not batch.count:
            continue
        _check_finite(batch.inputs.tensors)
        empty = False
        yield batch
    if empty:
        raise DataError("the calibration loader is empty; expected at least one sample.")


def one(batch: Batch, number: int, device: torch.device) -> Inputs:
    """One sample as a batch of its own."""
    return batch.inputs.map(lambda tensor: tensor[number : number + 1].to(device))


def _check_finite(tensors: Iterable[Tensor]) -> None:
    for tensor in tensors:
        if tensor.dtype.is_floating_point and not bool(torch.isfinite(tensor).all()):
            raise DataError(
                f"calibration samples hold NaN or infinite values (batch of shape "
                f"{tuple(tensor.shape)}); remove or repair these samples."
            )
