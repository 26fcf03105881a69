"""The Bayes filter of the maze: what can be known of the place by whoever knows the map.

With exact displacements the place at step t is the place at the start plus a known sum, so the
posterior over the start is uniform on the starts that every observation so far allows: those from
which each place is free and each of the five distances is within 0.1 of what was seen (the noise is
uniform). That set is covered with squares, which are divided where they are few.

A collision also says that a wall is near. That is not used here, so this is the posterior given the
distances, the displacements and the free space, and not the last word on what can be known.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from prunella.core.errors import DataError
from prunella.sequences.maze import Floats, Mask, Maze, Places
from prunella.sequences.walks import DISTANCE_NOISE, Walks

_CORNERS = np.array(((-1.0, -1.0), (1.0, -1.0), (-1.0, 1.0), (1.0, 1.0)))
_FINEST = 2.0**-14  # cells, half of a side; more would be divided forever for no use
_TOGETHER = 128  # walks; more at a time need more memory and are no faster


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Squares:
    """Squares that together hold every start that is allowed.

    Attributes:
        walk: The walk each belongs to, ascending, shape (S,).
        start: Centre at the start of the walk, shape (S, 2).
        half: Half of a side, for each walk, shape (N,).
        inside: Whether the centre itself is allowed, shape (S,).
    """

    walk: Places  # (S,)
    start: Floats  # (S, 2)
    half: Floats  # (N,)
    inside: Mask  # (S,)

    def subset(self, kept: Mask, inside: Mask) -> _Squares:
        """The squares to be kept, shape (S,); `inside` is of all of them."""
        return replace(
            self, walk=self.walk[kept], start=self.start[kept], inside=(self.inside & inside)[kept]
        )


def bayes_means(
    maze: Maze,
    walks: Walks,
    *,
    squares: int = 50,
) -> Floats:  # (N, T, 2)
    """Posterior mean of the place (x, y) at each step, given the distances up to that step.

    Args:
        maze: The map.
        walks: As `walk` makes them; the poses are not looked at.
        squares: Centres of squares whose mean is taken, at least; the error of the mean falls with
            their number, the time grows with it.

    Raises:
        DataError: the distances of a walk fit no place of this map.
    """
    parts = [
        _means(maze, walks.moves[i : i + _TOGETHER], walks.distances[i : i + _TOGETHER], squares)
        for i in range(0, len(walks.moves), _TOGETHER)
    ]
    return np.concatenate(parts)


def _means(
    maze: Maze,
    moves: Floats,  # (N, T, 3)
    distances: Floats,  # (N, T, 5)
    least: int,
) -> Floats:  # (N, T, 2)
    count, length = distances.shape[:2]
    gone = np.zeros((count, length, 2))
    gone[:, 1:] = np.cumsum(moves[:, :-1, :2], axis=1)
    cells = maze.free_cells + 0.5
    state = _Squares(
        walk=np.repeat(np.arange(count), len(cells)),
        start=np.tile(cells, (count, 1)),
        half=np.full(count, 0.5),
        inside=np.ones(count * len(cells), dtype=np.bool_),
    )
    means = np.empty((count, length, 2))
    for t in range(length):
        state = _seen(maze, state, gone, distances, (t,))
        _require_some(maze, state)
        while True:
            allowed = np.bincount(state.walk[state.inside], minlength=count)
            few = (allowed < least) & (state.half > _FINEST)
            if not few.any():
                break
            state = _divided(maze, state, few, gone[:, : t + 1], distances[:, : t + 1])
            _require_some(maze, state)
        means[:, t] = _mean_starts(state, allowed) + gone[:, t]
    return means


def _seen(
    maze: Maze,
    state: _Squares,
    gone: Floats,  # (N, T, 2)
    distances: Floats,  # (N, T, 5)
    steps: tuple[int, ...],
) -> _Squares:
    """The squares that the observations at some steps leave.

    A distance to a beacon changes by no more than the place does, and so does each of the sorted
    ones. So if a square holds an allowed place, the distances at its centre are within 0.1 and half
    of its diagonal of what was seen: no allowed place is ever lost.
    """
    for t in steps:
        place = state.start + gone[state.walk, t]
        half = state.half[state.walk, None]
        error = np.abs(maze.distances(place) - distances[state.walk, t]).max(axis=1)
        kept = error <= DISTANCE_NOISE + np.sqrt(2) * half[:, 0]
        # A square no larger than a cell meets a free cell only if one of its corners is in one.
        corners = place[:, None] + half[:, None] * _CORNERS * (1 - 1e-9)
        kept &= maze.is_free(corners).any(axis=1)
        state = state.subset(kept, (error <= DISTANCE_NOISE) & maze.is_free(place))
    return state


def _require_some(maze: Maze, state: _Squares) -> None:
    left = np.bincount(state.walk, minlength=len(state.half))
    if not left.all():
        raise DataError(
            f"maze {maze.name}: the distances seen in walk {int(left.argmin())} fit no place; "
            "expected walks of this map, with the noise of prunella.sequences.walk."
        )


def _divided(
    maze: Maze,
    state: _Squares,
    few: Mask,  # (N,)
    gone: Floats,  # (N, t + 1, 2)
    distances: Floats,  # (N, t + 1, 5)
) -> _Squares:
    """The squares of some walks divided into four each, and all their observations looked at."""
    chosen = few[state.walk]
    half = np.where(few, state.half / 2, state.half)
    walk = np.repeat(state.walk[chosen], len(_CORNERS))
    start = state.start[chosen][:, None] + half[state.walk[chosen], None, None] * _CORNERS
    parts = _Squares(
        walk=walk,
        start=start.reshape(-1, 2),
        half=half,
        inside=np.ones(len(walk), dtype=np.bool_),
    )
    # The latest first: the farther apart in time, the sooner the squares are few.
    steps = tuple(reversed(range(gone.shape[1])))
    parts = _seen(maze, parts, gone, distances, steps)
    walk = np.concatenate((state.walk[~chosen], parts.walk))
    order = np.argsort(walk, kind="stable")
    return _Squares(
        walk=walk[order],
        start=np.concatenate((state.start[~chosen], parts.start))[order],
        half=half,
        inside=np.concatenate((state.inside[~chosen], parts.inside))[order],
    )


def _mean_starts(state: _Squares, allowed: NDArray[np.intp]) -> Floats:  # (N, 2)
    """Mean of the allowed centres; of all squares where the finest have no allowed centre."""
    used = state.inside | (allowed == 0)[state.walk]
    walk, start = state.walk[used], state.start[used]
    sums = [np.bincount(walk, weights=start[:, axis], minlength=len(allowed)) for axis in (0, 1)]
    means: Floats = np.stack(sums, axis=1) / np.bincount(walk, minlength=len(allowed))[:, None]
    return means
