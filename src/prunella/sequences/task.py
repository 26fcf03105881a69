"""What a task of sequences is, and what is asked of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from prunella.sequences.maze import Maze
from prunella.sequences.sets import SequenceSet

Split = Literal["train", "validation", "test"]
Kind = Literal["regression", "classification"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Which part of a task, and how much of it.

    Attributes:
        split: The part.
        data_dir: Folder with the files of the task; None = the usual places.
        seed: Of all that is drawn.
        count: Sequences, at most; None = the task's own number.
        length: Steps of a sequence, at most for texts; None = the task's own number.
    """

    split: Split
    data_dir: Path | None
    seed: int
    count: int | None
    length: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task by name.

    Attributes:
        name: As given to `load`.
        line: What is predicted from what, in one line.
        kind: Whether numbers or classes are predicted.
        source: Where the data come from and under which licence.
        make: Makes the part that is asked for.
        maze: Makes the map, where the task has one.
    """

    name: str
    line: str
    kind: Kind
    source: str
    make: Callable[[Asked], SequenceSet]
    maze: Callable[[], Maze] | None = None


def uci_files(names: str) -> str:
    """The source of a set of the UCI repository, with its files in words."""
    return f"UCI repository (licence CC BY 4.0), {names} in data_dir"
