"""Long series: divided in the order of time, standardised by the first part, cut into windows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from prunella.core.errors import DataError
from prunella.sequences.reading import Floats
from prunella.sequences.scaling import standard
from prunella.sequences.sets import SequenceSet
from prunella.sequences.task import Asked, Split

_SHARES: dict[Split, tuple[float, float]] = {
    "train": (0.0, 0.7),
    "validation": (0.7, 0.85),
    "test": (0.85, 1.0),
}
_OVERLAP = 4  # a training window begins a quarter of its length after the one before


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Series:
    """What is known at the end of each step of time, and what is to be said then.

    Attributes:
        name: For reports.
        values: Known numbers, shape (S, D); NaN where missing.
        targets: Number of the NEXT step that is to be predicted, shape (S,): it is in no row of
            `values` up to its own. NaN where missing, at least in the last row.
        features: Names of the D numbers.
        output: Name of the target.
    """

    name: str
    values: Floats  # (S, D)
    targets: Floats  # (S,)
    features: tuple[str, ...]
    output: str


def next_of(
    column: Floats,  # (S,)
) -> Floats:  # (S,)
    """The number of the following step; NaN in the last row."""
    return np.append(column[1:], np.nan)


def windows(series: Series, asked: Asked, *, length: int) -> SequenceSet:
    """One part of a series as windows of one length, with a target at every step.

    The first 70 % of the rows are the training part, the next 15 % are for validation, the rest for
    testing. Windows lie within their part, and so do their targets. Training windows overlap, the
    others do not. A missing number is replaced by the last known one before it, rows before the
    first known one are left out, and no window has a step whose target is missing. Inputs and
    targets are standardised by mean and standard deviation of the training rows.

    Args:
        series: The series.
        asked: The part; its `length` goes before the one given here.
        length: Steps of a window.

    Raises:
        DataError: a part is too short for one window, or the target never changes.
    """
    steps = length if asked.length is None else asked.length
    values = _filled(series.values)
    known = ~np.isnan(values).any(axis=1) & ~np.isnan(series.targets)
    begin, end = _part(series, "train")
    first = slice(begin, end)
    if not known[first].any():
        raise DataError(f"{series.name}: no row of its training part is complete.")
    mean, deviation = standard(values[first][known[first]])
    (middle,), (spread,) = standard(series.targets[first][known[first], None])
    if not np.isfinite(spread):
        raise DataError(
            f"{series.name}: the target is {middle:g} in all rows of the training part; expected "
            "one that changes, or there is nothing to learn."
        )
    begin, end = _part(series, asked.split)
    stride = max(1, steps // _OVERLAP) if asked.split == "train" else steps
    starts = [
        start
        for low, high in _runs(known[begin:end])
        for start in range(begin + low, begin + high - steps + 1, stride)
    ]
    if not starts:
        raise DataError(
            f"{series.name}: the {asked.split} part has {end - begin:,} rows and no window of "
            f"{steps} steps with all targets known; ask for a shorter length."
        )
    places = np.array(starts)[:, None] + np.arange(steps)
    inputs = (values[places] - mean) / deviation
    targets = (series.targets[places][..., None] - middle) / spread
    made = SequenceSet(
        name=f"{series.name} {asked.split}",
        inputs=torch.from_numpy(inputs.astype(np.float32)),
        targets=torch.from_numpy(targets.astype(np.float32)),
        lengths=None,
        features=series.features,
        outputs=(series.output,),
        scale=(float(spread),),
        shift=(float(middle),),
    )
    return at_most(made, asked)


def at_most(sequences: SequenceSet, asked: Asked) -> SequenceSet:
    """As many sequences as are asked for, drawn with the seed; their order is kept."""
    if asked.count is None or asked.count >= len(sequences):
        return sequences
    generator = torch.Generator().manual_seed(asked.seed)
    chosen = torch.randperm(len(sequences), generator=generator)[: asked.count]
    return sequences.subset(chosen.sort().values)


def _part(series: Series, split: Split) -> tuple[int, int]:
    """First row of a part, and the row of the last target that is known within it."""
    count = len(series.values)
    begin, end = (round(share * count) for share in _SHARES[split])
    return begin, end - 1  # the target of the last row is the first of the next part


def _filled(values: Floats) -> Floats:
    """Missing numbers replaced by the last known one; those before the first remain missing."""
    rows = np.where(np.isnan(values), -1, np.arange(len(values))[:, None])
    last = np.maximum.accumulate(rows, axis=0)
    filled = np.take_along_axis(values, last.clip(0), axis=0)
    filled[last < 0] = np.nan
    return filled


def _runs(known: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Begin and end of each unbroken stretch of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], known, [False])).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
