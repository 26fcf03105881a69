"""Mean and deviation, by which inputs and targets are standardised."""

from __future__ import annotations

import numpy as np

from prunella.sequences.reading import Floats


def standard(
    rows: Floats,  # (S, D), NaN where a number is missing
) -> tuple[Floats, Floats]:  # (D,), (D,)
    """Mean and deviation of each column over the rows where it is known.

    The deviation of a column that never changes, or is never known, is infinite: divided by it,
    whatever comes later is 0.
    """
    known = ~np.isnan(rows)
    count = known.sum(axis=0).clip(1)
    mean = np.where(known, rows, 0).sum(axis=0) / count
    deviation = np.sqrt(np.where(known, np.square(rows - mean), 0).sum(axis=0) / count)
    # Not by the deviation, which rounding leaves above 0.
    highest = np.where(known, rows, -np.inf).max(axis=0)
    lowest = np.where(known, rows, np.inf).min(axis=0)
    return mean, np.where(highest > lowest, deviation, np.inf)
