"""Sequences in memory, and loaders over them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from prunella.core.errors import DataError
from prunella.core.samples import SampleIds
from prunella.core.sets import is_outside, positions, whole_batches

# What a model is called with: the inputs, and their lengths where they differ.
Given = Tensor | tuple[Tensor, Tensor]
Batch = tuple[Given, Tensor]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SequenceSet:
    """Sequences, padded to one number of steps, and what is to be predicted.

    Attributes:
        name: What the sequences are, for reports.
        inputs: float32, shape (N, T, D); of texts int64, shape (N, T): the place of each word in
            `features`. Steps from a sequence's length on are padding.
        targets: float32, one row for each step, shape (N, T, J), or one for each sequence, shape
            (N, J); or int64 classes, shape (N,), each in [0, len(outputs)).
        lengths: int64, shape (N,), each in [1, T]; None where every sequence has T steps.
        features: Names of the D numbers of a step; of texts the vocabulary.
        outputs: Names of the J numbers to predict, or of the classes.
        scale: Of each of the J numbers; in units they are `targets * scale + shift`. Empty for
            classes.
        shift: The same.
    """

    name: str
    inputs: Tensor  # (N, T, D) float32 or (N, T) int64
    targets: Tensor  # (N, T, J) or (N, J) float32, or (N,) int64
    lengths: Tensor | None  # (N,) int64
    features: tuple[str, ...]
    outputs: tuple[str, ...]
    scale: tuple[float, ...] = ()
    shift: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        self._check_inputs()
        self._check_lengths()
        self._check_targets()

    def _check_inputs(self) -> None:
        given = f"{self.name}: inputs are {self.inputs.dtype} of shape {tuple(self.inputs.shape)}"
        if self.inputs.dtype == torch.int64 and self.inputs.ndim == 2:
            if is_outside(self.inputs, 0, len(self.features) - 1):
                raise DataError(
                    f"{given}, from {int(self.inputs.min())} to {int(self.inputs.max())}; expected "
                    f"places in the vocabulary, 0 to {len(self.features) - 1}."
                )
        elif self.inputs.dtype != torch.float32 or self.inputs.ndim != 3:
            raise DataError(f"{given}; expected float32 (N, T, D), or int64 (N, T) for texts.")
        elif self.inputs.shape[2] != len(self.features):
            raise DataError(f"{given} with {len(self.features)} names of features; expected D.")
        elif not torch.isfinite(self.inputs).all():
            raise DataError(f"{given} and not all finite; fill in or drop what is missing.")

    def _check_lengths(self) -> None:
        if self.lengths is None:
            return
        count, steps = self.inputs.shape[:2]
        given = f"{self.name}: lengths are {self.lengths.dtype} of {tuple(self.lengths.shape)}"
        if self.lengths.dtype != torch.int64 or self.lengths.shape != (count,):
            raise DataError(f"{given}; expected one int64 number for each of {count} sequences.")
        if is_outside(self.lengths, 1, steps):
            raise DataError(
                f"{given}, from {int(self.lengths.min())} to {int(self.lengths.max())}; expected 1 "
                f"to {steps} steps."
            )

    def _check_targets(self) -> None:
        given = f"{self.name}: targets are {self.targets.dtype} of {tuple(self.targets.shape)}"
        count, steps = self.inputs.shape[:2]
        width = len(self.outputs)
        if self.targets.dtype == torch.int64:
            if self.targets.shape != (count,):
                raise DataError(f"{given}; expected one class for each of {count} sequences.")
            if is_outside(self.targets, 0, width - 1):
                raise DataError(
                    f"{given}, from {int(self.targets.min())} to {int(self.targets.max())}; "
                    f"expected classes 0 to {width - 1}."
                )
            return
        if self.targets.dtype != torch.float32 or tuple(self.targets.shape) not in (
            (count, steps, width),
            (count, width),
        ):
            raise DataError(
                f"{given}; expected float32 ({count}, {steps}, {width}) or ({count}, {width}), or "
                f"int64 classes ({count},)."
            )
        if not torch.isfinite(self.targets).all():
            raise DataError(f"{given} and not all finite; fill in or drop what is missing.")
        positive = all(0 < scale < math.inf for scale in self.scale)
        if len(self.scale) != width or len(self.shift) != width or not positive:
            raise DataError(
                f"{given} with scale {self.scale} and shift {self.shift}; expected {width} numbers "
                "each, the scale positive and finite."
            )

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def classes(self) -> bool:
        """Whether classes are predicted, not numbers."""
        return self.targets.dtype == torch.int64

    @property
    def ids(self) -> SampleIds:
        """Fingerprints of the sequences, the same as those of the loader's batches."""
        others = () if self.lengths is None else (self.lengths,)
        return SampleIds.of(self.inputs, *others)

    def in_units(
        self,
        values: Tensor,  # (..., J)
    ) -> Tensor:  # (..., J)
        """Targets or predictions in the units of `outputs`, not scaled.

        Raises:
            DataError: classes have no units, or there are not J numbers.
        """
        if self.classes or values.shape[-1:] != (len(self.outputs),):
            raise DataError(
                f"{self.name}: values of shape {tuple(values.shape)} for the outputs "
                f"{self.outputs}; expected one number for each, of a set that predicts numbers."
            )
        return values * values.new_tensor(self.scale) + values.new_tensor(self.shift)

    def subset(self, indices: Tensor | Sequence[int], *, name: str | None = None) -> SequenceSet:
        """The sequences at `indices` (positions in this set), in that order.

        Raises:
            DataError: the indices are not integers within the set.
        """
        index = positions(indices, len(self), name=self.name, what="sequences")
        return replace(
            self,
            inputs=self.inputs[index],
            targets=self.targets[index],
            lengths=None if self.lengths is None else self.lengths[index],
            name=name or self.name,
        )

    def split(
        self, fraction: float, *, generator: torch.Generator | None = None
    ) -> tuple[SequenceSet, SequenceSet]:
        """A `fraction` of the sequences, and the others.

        Args:
            fraction: Above 0 and below 1; the first part has at least one sequence, and so has
                the second.
            generator: Draws the first part; None = the first ones, as for series in order of time.

        Raises:
            DataError: a fraction outside of (0, 1), or fewer than two sequences.
        """
        if not 0 < fraction < 1 or len(self) < 2:
            raise DataError(
                f"{self.name}: fraction {fraction} of {len(self)} sequences; expected a number "
                "between 0 and 1, of at least two sequences."
            )
        count = min(max(round(fraction * len(self)), 1), len(self) - 1)
        places = torch.arange(len(self))
        if generator is not None:
            places = torch.randperm(len(self), generator=generator)
        return self.subset(places[:count]), self.subset(places[count:])

    def loader(
        self,
        batch_size: int,
        *,
        shuffle: bool = False,
        generator: torch.Generator | None = None,
    ) -> DataLoader[Batch]:
        """Batches (inputs, targets), or ((inputs, lengths), targets) where there are lengths.

        Shuffling draws from `generator`, or from torch's global one, at the start of every pass.

        Raises:
            DataError: there are no sequences, or the batch size is not positive.
        """
        return whole_batches(
            _Whole(self),
            batch_size,
            name=self.name,
            what="sequence",
            shuffle=shuffle,
            generator=generator,
        )


class _Whole(Dataset[Batch]):
    """Takes a whole batch at once, far cheaper than one sequence after another."""

    def __init__(self, source: SequenceSet) -> None:
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Batch:
        given, targets = self.__getitems__([index])
        if isinstance(given, tuple):
            return (given[0][0], given[1][0]), targets[0]
        return given[0], targets[0]

    def __getitems__(self, indices: list[int]) -> Batch:
        index = torch.tensor(indices)
        inputs, targets = self.source.inputs[index], self.source.targets[index]
        lengths = self.source.lengths
        return (inputs if lengths is None else (inputs, lengths[index])), targets
