"""Sorted scores of a layer in a bounded number of steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from prunella.core.results import LayerReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The sorted scores of one layer, highest first; S steps.

    Attributes:
        ranks: Channels before each step, and their number at the end; S + 1 numbers.
        edges: The same in per cent of the channels.
        means: Mean score of each step.
        heights: The same as a share of the highest score, in [0, 1].
        kept: Share of the channels of each step that were kept.
    """

    ranks: tuple[int, ...]
    edges: tuple[float, ...]
    means: tuple[float, ...]
    heights: tuple[float, ...]
    kept: tuple[float, ...]


def binned(layer: LayerReport, steps: int) -> Row:
    """Sort the channels by score and average runs of them where there are more than `steps`."""
    size = len(layer.scores)
    values = [value if math.isfinite(value) else 0.0 for value in layer.scores]
    # Among equal scores the kept channels come first, so that the border is one line.
    order = sorted(range(size), key=lambda channel: (-values[channel], not layer.kept[channel]))
    number = min(size, steps)
    ranks = [step * size // number for step in range(number + 1)]
    runs = [order[start:end] for start, end in pairwise(ranks)]
    means = [sum(values[channel] for channel in run) / len(run) for run in runs]
    low = min(0.0, min(values))
    span = max(values) - low
    return Row(
        ranks=tuple(ranks),
        edges=tuple(round(100 * rank / size, 2) for rank in ranks),
        means=tuple(means),
        heights=tuple((mean - low) / span if span > 0 else 0.0 for mean in means),
        kept=tuple(sum(layer.kept[channel] for channel in run) / len(run) for run in runs),
    )
