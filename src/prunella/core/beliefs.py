"""The result of training on sequences, as plain data for a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Place = tuple[float, float]  # x to the right and y upwards, in cells


@dataclass(frozen=True, slots=True, kw_only=True)
class BeliefWalk:
    """One walk through a maze, and what a network believed at each of its T steps.

    Attributes:
        name: For people.
        truth: Where the walker was, T places.
        headings: Its headings in degrees, 0 upwards and 90 to the right; empty if not known.
        mean: Mean prediction at each step.
        particles: Places of the K particles at each step.
        weights: Of the particles, which sum to 1 at each step.
        effective: Effective sample size at each step, between 1 and K.
    """

    name: str
    truth: tuple[Place, ...]
    headings: tuple[float, ...]
    mean: tuple[Place, ...]
    particles: tuple[tuple[Place, ...], ...]
    weights: tuple[tuple[float, ...], ...]
    effective: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceReport:
    """All that the page on a training with sequences shows.

    Attributes:
        title: Of the task.
        lead: What came out, in one sentence.
        facts: Names and values, in order.
        curves: Columns over the epochs by name, "epoch" among them.
        best: The epoch whose weights were kept.
        cells: Rows of the map, the first at the top: 0 free, 1 wall, 2 beacon; empty without one.
        walks: Walks with beliefs.
        created: When, ISO 8601; empty if not known.
        command: That made it; empty if not known.
    """

    title: str
    lead: str
    facts: Sequence[tuple[str, str]]
    curves: Mapping[str, Sequence[float]]
    best: int
    cells: Sequence[Sequence[int]] = ()
    walks: Sequence[BeliefWalk] = ()
    created: str = ""
    command: str = ""
