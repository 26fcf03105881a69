"""What a loader may yield, and how it is read."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from prunella.core.errors import DataError


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class LabelledBatch:
    """One batch of a loader.

    Attributes:
        inputs: First axis is the sample.
        labels: int64, shape (N,), or None where the loader yields inputs alone.
    """

    inputs: Tensor  # (N, ...)
    labels: Tensor | None  # (N,) int64

    def __len__(self) -> int:
        return len(self.inputs)

    def to(self, device: torch.device) -> LabelledBatch:
        """The same batch on another device."""
        labels = None if self.labels is None else self.labels.to(device)
        return LabelledBatch(inputs=self.inputs.to(device), labels=labels)


def split_batch(batch: object) -> LabelledBatch:
    """Read a batch: a tensor of inputs, or a sequence of inputs and labels.

    Raises:
        DataError: the batch is neither, or labels and inputs differ in number.
    """
    if isinstance(batch, LabelledBatch):
        return batch
    if isinstance(batch, Tensor):
        return LabelledBatch(inputs=batch, labels=None)
    if isinstance(batch, (tuple, list)) and batch and isinstance(batch[0], Tensor):
        labels = batch[1] if len(batch) > 1 else None
        if labels is not None:
            labels = torch.as_tensor(labels)
            if labels.ndim != 1 or len(labels) != len(batch[0]):
                raise DataError(
                    f"the loader yields {len(batch[0])} inputs with labels of shape "
                    f"{tuple(labels.shape)}; expected one integer label for each input."
                )
            if not (labels.dtype.is_floating_point or labels.dtype is torch.bool):
                labels = labels.long()
        return LabelledBatch(inputs=batch[0], labels=labels)
    raise DataError(
        f"the loader yields {type(batch).__name__}; expected a tensor of inputs, "
        "or a pair (inputs, labels)."
    )


def check_labels(labels: Tensor, classes: int) -> None:
    """Raise DataError unless all labels (N,) are integers in [0, classes)."""
    if labels.dtype.is_floating_point or labels.dtype is torch.bool:
        raise DataError(f"labels are {labels.dtype}; expected integers from 0 to {classes - 1}.")
    if labels.numel() == 0:
        return
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise DataError(
            f"labels run from {low} to {high}, but the network has {classes} outputs, so labels "
            f"must lie in 0 to {classes - 1}; check the data set or the number of classes."
        )
