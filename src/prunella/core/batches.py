"""What a loader may yield, and how it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from prunella.core.errors import DataError
from prunella.core.inputs import Inputs


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


def inputs_of(batch: object) -> Inputs:
    """What a model is called with for a batch, without labels.

    As `split_batch`, and besides a dictionary of keyword arguments, with labels under "labels" or
    as the second of a pair.

    Raises:
        DataError: see `split_batch`; or the tensors of a dictionary have no first axis in common.
    """
    pair = isinstance(batch, (tuple, list)) and len(batch) > 0
    given = batch[0] if pair and isinstance(batch, (tuple, list)) else batch
    if not isinstance(given, Mapping):
        return Inputs(args=(split_batch(batch).inputs,))
    kwargs = {name: value for name, value in given.items() if name != "labels"}
    tensors = {name: value for name, value in kwargs.items() if isinstance(value, Tensor)}
    if len({tensor.shape[:1] for tensor in tensors.values()} - {torch.Size([])}) != 1 or any(
        tensor.ndim == 0 for tensor in tensors.values()
    ):
        shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in tensors.items())
        raise DataError(
            f"the loader yields a dictionary with tensors of shapes {shapes or 'none'}; expected "
            "at least one tensor, and the sample as the first axis of each."
        )
    return Inputs(kwargs=kwargs)


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
