"""What a loader may yield, and how it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from prunella.core.errors import DataError
from prunella.core.inputs import Inputs
from prunella.core.samples import SampleIds
from prunella.core.words import shown

LABELS = ("labels", "label")  # entries of a dictionary that are no arguments of the model


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Batch:
    """One batch of a loader.

    Attributes:
        inputs: What the model is called with; the first axis of every tensor is the sample.
        given_labels: As the loader yields them; None where it yields inputs alone. Steps that use
            labels read `labels`, so that the others accept any.
        count: Number of samples.
    """

    inputs: Inputs
    given_labels: object
    count: int

    def __len__(self) -> int:
        return self.count

    @property
    def labels(self) -> Tensor | None:  # (N,), int64 if they are integers
        """One label for each sample, or None where the loader yields inputs alone.

        Raises:
            DataError: there is not one number for each sample.
        """
        if self.given_labels is None:
            return None
        try:
            labels: Tensor = torch.as_tensor(self.given_labels)
        except (TypeError, ValueError, RuntimeError):
            raise DataError(
                f"the loader yields {self.count} inputs with {_kind(self.given_labels)} as labels; "
                f"expected one integer label for each input. {_SEVERAL}"
            ) from None
        if labels.ndim != 1 or len(labels) != self.count:
            raise DataError(
                f"the loader yields {self.count} inputs with labels of shape "
                f"{tuple(labels.shape)}; expected one integer label for each input. {_SEVERAL}"
            )
        if labels.dtype.is_floating_point or labels.dtype is torch.bool:
            return labels
        return labels.long()

    @property
    def ids(self) -> SampleIds:
        """Fingerprints of the samples; labels are no part of them."""
        return SampleIds.of(*self.inputs.tensors)

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        given = self.given_labels
        labels = given.to(device) if isinstance(given, Tensor) else given
        return Batch(inputs=self.inputs.to(device), given_labels=labels, count=self.count)


_SEVERAL = (
    "Several inputs of one model go into a tuple of their own, before the labels: "
    "((first, second), labels)."
)


def read_batch(batch: object) -> Batch:
    """Read a batch: inputs alone, or a pair of inputs and labels.

    Inputs are a tensor, a tuple of positional arguments or a dictionary of keyword arguments. A
    tuple stands for several arguments only inside of a pair, because on its own it is one:
    ((first, second), labels), or ((first, second), None) without labels. What follows the labels
    is not used. An entry "labels" or "label" of a dictionary holds the labels and is never given to
    the model, which so returns its outputs alone and computes no loss of its own.

    Raises:
        DataError: the batch is none of these, has labels twice, or its tensors do not have the
            sample as their first axis.
    """
    if isinstance(batch, Batch):
        return batch
    paired = isinstance(batch, (tuple, list)) and len(batch) > 0
    given = batch[0] if paired and isinstance(batch, (tuple, list)) else batch
    labels = batch[1] if isinstance(batch, (tuple, list)) and len(batch) > 1 else None
    if isinstance(given, Mapping):
        named, labels = _named(given, labels)
        inputs = Inputs(kwargs=named)
    elif isinstance(given, Tensor):
        inputs = Inputs(args=(given,))
    elif paired and isinstance(given, (tuple, list)):
        inputs = Inputs(args=tuple(given))
    else:
        raise _unknown(batch)
    if not inputs.tensors and not isinstance(given, Mapping):
        raise _unknown(batch)
    return Batch(inputs=inputs, given_labels=labels, count=_count(inputs))


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


def _named(given: Mapping[Any, Any], labels: object) -> tuple[dict[str, Any], object]:
    """Keyword arguments in the order of their names, and labels."""
    odd = [name for name in given if not isinstance(name, str)]
    if odd:
        raise DataError(
            f"the loader yields a dictionary with the key {shown(odd[0])}; expected names of the "
            "model's arguments."
        )
    found = [name for name in LABELS if name in given]
    if len(found) + (labels is not None) > 1:
        places = [f"as the entry {name!r}" for name in found]
        places += ["behind the dictionary"] if labels is not None else []
        raise DataError(f"the loader yields labels twice, {' and '.join(places)}; give them once.")
    if found:
        labels = given[found[0]]
    # The same fingerprints whatever order the entries come in.
    return {name: given[name] for name in sorted(given) if name not in LABELS}, labels


def _count(inputs: Inputs) -> int:
    """Number of samples."""
    tensors = inputs.tensors
    counts = {tensor.shape[:1] for tensor in tensors}
    if len(counts) != 1 or not tensors[0].ndim:
        named = {n: Inputs(args=(value,)).words() for n, value in inputs.kwargs.items()}
        words = ", ".join(f"{name} {shapes}" for name, shapes in named.items() if shapes)
        raise DataError(
            f"the loader yields inputs with tensors of shapes {words or inputs.words() or 'none'}; "
            "expected at least one tensor, and the sample as the first axis of each."
        )
    return len(tensors[0])


def _kind(value: object) -> str:
    inside = [type(leaf).__name__ for leaf in tree_leaves(value)]
    kind = type(value).__name__
    return kind if inside in ([], [kind]) else f"{kind} of {inside[0]}"


def _unknown(batch: object) -> DataError:
    return DataError(
        f"the loader yields {_kind(batch)}; expected a tensor of inputs, a dictionary of keyword "
        "arguments, or a pair of inputs and labels: (inputs, labels), or ((first, second), labels) "
        "for a model with several inputs."
    )
