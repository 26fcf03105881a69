"""The maze as tasks by name."""

from __future__ import annotations

from functools import partial

import numpy as np

from prunella.sequences.maze import standard_maze
from prunella.sequences.sets import SequenceSet
from prunella.sequences.task import Asked, Task
from prunella.sequences.walks import walk, walk_set

_COUNTS = {"train": 10_000, "validation": 1_000, "test": 1_000}
_LENGTH = 80


def _walks(size: int, asked: Asked) -> SequenceSet:
    maze = standard_maze(size)
    # Each part and each size draws from a stream of its own, whatever the seed.
    generator = np.random.default_rng([asked.seed, size, list(_COUNTS).index(asked.split)])
    count = _COUNTS[asked.split] if asked.count is None else asked.count
    length = _LENGTH if asked.length is None else asked.length
    walks = walk(maze, count, length, generator=generator)
    return walk_set(maze, walks, name=f"maze {maze.name} {asked.split}")


MAZES = tuple(
    Task(
        name=f"maze{size}",
        line=f"place and heading in a maze of {size} x {size} cells, from distances and moves",
        kind="regression",
        source=source,
        make=partial(_walks, size),
    )
    for size, source in (
        (10, "generated; map of the public code of Ma et al., AAAI 2020"),
        (18, "generated; map drawn like the published one"),
        (27, "generated; map drawn like the published one"),
    )
)
