"""Reading the samples that a method scores with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from prunella.core.batches import inputs_of, split_batch
from prunella.core.errors import DataError
from prunella.core.inputs import Inputs
from prunella.core.progress import Progress, length
from prunella.core.samples import SampleIds


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Samples:
    """One batch.

    Attributes:
        inputs: What the model is called with; the sample is the first axis of every tensor.
        labels: int64, shape (N,), or None where the loader yields none.
        count: Number of samples N, at least 1.
        ids: Their fingerprints.
    """

    inputs: Inputs
    labels: Tensor | None
    count: int
    ids: SampleIds

    def one(self, number: int, device: torch.device) -> Inputs:
        """One sample as a batch of its own."""
        return self.inputs.map(lambda tensor: tensor[number : number + 1].to(device))


def samples(loader: Iterable[object], *, progress: Progress, description: str) -> Iterator[Samples]:
    """The batches of a loader that hold samples.

    Raises:
        DataError: there is none, or one holds NaN or infinite values.
    """
    empty = True
    for batch in progress(loader, description=description, total=length(loader)):
        inputs = inputs_of(batch)
        named = [inputs.kwargs[name] for name in sorted(inputs.kwargs)]
        tensors = [value for value in (*inputs.args, *named) if isinstance(value, Tensor)]
        if len(tensors[0]) == 0:
            continue
        _check_finite(tensors)
        empty = False
        yield Samples(
            inputs=inputs,
            labels=None if inputs.kwargs else split_batch(batch).labels,
            count=len(tensors[0]),
            ids=SampleIds.of(*tensors),
        )
    if empty:
        raise DataError("the calibration loader is empty; expected at least one sample.")


def _check_finite(tensors: list[Tensor]) -> None:
    for tensor in tensors:
        if tensor.dtype.is_floating_point and not bool(torch.isfinite(tensor).all()):
            raise DataError(
                f"calibration samples hold NaN or infinite values (batch of shape "
                f"{tuple(tensor.shape)}); remove or repair these samples."
            )
