"""Labelled sequences: standardised by the training part, and padded to one number of steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from prunella.core.errors import DataError
from prunella.sequences.reading import Floats
from prunella.sequences.scaling import standard
from prunella.sequences.series import at_most
from prunella.sequences.sets import SequenceSet
from prunella.sequences.task import Asked, Split


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Labelled:
    """Sequences of a part, each of its own number of steps, and their classes.

    Attributes:
        sequences: Numbers, shape (T_i, D) each; NaN where missing.
        labels: Places of their classes.
    """

    sequences: list[Floats] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)

    def add(self, sequence: Floats, label: int) -> None:
        """One more."""
        self.sequences.append(sequence)
        self.labels.append(label)


Parts = Mapping[Split, Labelled]


def empty_parts() -> dict[Split, Labelled]:
    """Three parts without sequences."""
    return {"train": Labelled(), "validation": Labelled(), "test": Labelled()}


def every_fifth(sequences: Iterable[tuple[Floats, int]]) -> tuple[Labelled, Labelled]:
    """Four of five, and every fifth of each class in the order given."""
    most, fifth = Labelled(), Labelled()
    seen: dict[int, int] = {}
    for sequence, label in sequences:
        seen[label] = seen.get(label, 0) + 1
        (fifth if seen[label] % 5 == 0 else most).add(sequence, label)
    return most, fifth


def classified(
    name: str,
    parts: Parts,
    asked: Asked,
    *,
    features: Sequence[str],
    classes: Sequence[str],
) -> SequenceSet:
    """The part that is asked for.

    Inputs are standardised by mean and standard deviation of all steps of the training part. A
    missing number becomes 0, its mean. Longer sequences than `asked.length` lose their end.

    Raises:
        DataError: the part, or the training part, has no sequence.
    """
    part, train = parts[asked.split], parts["train"]
    if not part.sequences or not train.sequences:
        raise DataError(
            f"{name}: {len(part.sequences)} sequences in the {asked.split} part and "
            f"{len(train.sequences)} in the training part; expected at least one in each."
        )
    steps = max(len(s) for p in parts.values() for s in p.sequences)
    steps = steps if asked.length is None else min(steps, asked.length)
    seen = np.concatenate([sequence[:steps] for sequence in train.sequences])
    mean, deviation = standard(seen)
    inputs = np.zeros((len(part.sequences), steps, len(features)))
    lengths = np.array([min(len(sequence), steps) for sequence in part.sequences])
    for row, sequence in zip(inputs, part.sequences, strict=True):
        row[: len(sequence)] = np.nan_to_num((sequence[:steps] - mean) / deviation)
    made = SequenceSet(
        name=f"{name} {asked.split}",
        inputs=torch.from_numpy(inputs.astype(np.float32)),
        targets=torch.tensor(part.labels, dtype=torch.int64),
        lengths=None if (lengths == steps).all() else torch.from_numpy(lengths.astype(np.int64)),
        features=tuple(features),
        outputs=tuple(classes),
    )
    return at_most(made, asked)
