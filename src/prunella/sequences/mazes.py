"""The maze as tasks by name."""

from __future__ import annotations

from functools import partial

import numpy as np

from prunella.sequences.maze import standard_maze
from prunella.sequences.sets import SequenceSet
from prunella.sequences.task import Asked, Split, Task
from prunella.sequences.walks import Walks, walk, walk_set

_COUNTS = {"train": 10_000, "validation": 1_000, "test": 1_000}
_LENGTH = 80


def task_walks(
    size: int, split: Split, *, seed: int = 0, count: int | None = None, length: int | None = None
) -> Walks:
    """The walks of one part of a maze task, with the poses in cells and degrees.

    Raises:
        InputError: no such maze, or a number below 1.
    """
    # Each part and each size draws from a stream of its own, whatever the seed.
    generator = np.random.default_rng([seed, size, list(_COUNTS).index(split)])
    return walk(
        standard_maze(size),
        _COUNTS[split] if count is None else count,
        _LENGTH if length is None else length,
        generator=generator,
    )


def _made(size: int, asked: Asked) -> SequenceSet:
    maze = standard_maze(size)
    walks = task_walks(size, asked.split, seed=asked.seed, count=asked.count, length=asked.length)
    return walk_set(maze, walks, name=f"maze {maze.name} {asked.split}")


MAZES = tuple(
    Task(
        name=f"maze{size}",
        line=f"place and heading in a maze of {size} x {size} cells, from distances and moves",
        kind="regression",
        source=source,
        make=partial(_made, size),
        maze=partial(standard_maze, size),
    )
    for size, source in (
        (10, "generated; map of the public code of Ma et al., AAAI 2020"),
        (18, "generated; map drawn like the published one"),
        (27, "generated; map drawn like the published one"),
    )
)
