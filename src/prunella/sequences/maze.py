"""Maps of the maze task: walls, free cells and beacons.

Source: Ma, Karkus, Hsu and Lee, "Particle filter recurrent neural networks", AAAI 2020
(arXiv 1905.12885), and the map of its public code. A map is a grid of unit cells; x runs to the
right and y upwards, from the lower left corner, in cells. A beacon stands on each corner of a
beacon cell. Two neighbouring beacon cells share two corners, and each of them counts both, so that
one corner can be two of the five nearest beacons. That is kept as published.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from prunella.core.errors import DataError, InputError
from prunella.core.words import shown

Floats = NDArray[np.float64]
Places = NDArray[np.int64]
Mask = NDArray[np.bool_]

NEAREST = 5  # beacons that are seen
_FREE, _WALL, _BEACON = 0, 1, 2
_FAR = 1e6  # cells; where the padding of the lists of candidates stands
_MARGIN = 0.5  # cells around a cell in which its list of candidates is still right
_OUTLINE = ((0, 0), (1, 0), (0, 1), (1, 1))  # corners of a cell
_TOP_10 = ("0200000020", "0201001020", "0201001020", "0112002110", "0000000000")
_WALLED = 0.32  # share of the cells that are walls or beacons, as in the published map
_TRIES = 2_000


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Maze:
    """A map.

    Attributes:
        name: For reports.
        cells: uint8, shape (H, W), row 0 at the top: 0 free, 1 wall, 2 wall with a beacon on each
            of its corners.
        free: Whether a cell is free, shape (H, W), row 0 at the BOTTOM: `free[y, x]`.
        beacons: Coordinates (x, y), shape (M, 2), four for each beacon cell, shared ones repeated.
    """

    name: str
    cells: NDArray[np.uint8]  # (H, W)
    free: Mask = field(init=False)  # (H, W)
    beacons: Floats = field(init=False)  # (M, 2)
    _near: Floats = field(init=False, repr=False)  # (H, W, C, 2), see _candidates

    def __post_init__(self) -> None:
        cells = np.array(self.cells, dtype=np.uint8)
        if cells.ndim != 2 or cells.size == 0 or cells.max() > _BEACON:
            raise DataError(
                f"maze {self.name}: cells of shape {cells.shape} with the values "
                f"{np.unique(cells).tolist()}; expected (H, W) of 0 (free), 1 (wall) and 2 "
                "(beacon)."
            )
        upwards = cells[::-1]
        rows, columns = np.nonzero(upwards == _BEACON)
        if 4 * len(rows) < NEAREST or not (upwards == _FREE).any():
            raise DataError(
                f"maze {self.name}: {len(rows)} beacon cells and {int((cells == _FREE).sum())} "
                "free cells; expected at least two and one."
            )
        corners = np.stack((columns, rows), axis=1)[:, None] + np.array(_OUTLINE)
        beacons = corners.reshape(-1, 2).astype(np.float64)
        for name, value in (
            ("cells", cells),
            ("free", upwards == _FREE),
            ("beacons", beacons),
            ("_near", _candidates(cells.shape[0], cells.shape[1], beacons)),
        ):
            value.setflags(write=False)
            object.__setattr__(self, name, value)

    @property
    def height(self) -> int:
        """Cells from bottom to top."""
        return len(self.cells)

    @property
    def width(self) -> int:
        """Cells from left to right."""
        return len(self.cells[0])

    @property
    def free_cells(self) -> Places:  # (F, 2)
        """Lower left corners (x, y) of the free cells, from bottom to top and left to right."""
        rows, columns = np.nonzero(self.free)
        return np.stack((columns, rows), axis=1).astype(np.int64)

    def is_free(
        self,
        points: Floats,  # (..., 2)
    ) -> Mask:  # (...,)
        """Whether points (x, y) lie in free cells; outside of the map nothing is free."""
        places = np.floor(points).astype(np.int64)
        x, y = places[..., 0], places[..., 1]
        inside = (x >= 0) & (x < self.width) & (y >= 0) & (y < self.height)
        free: Mask = inside & self.free[y.clip(0, self.height - 1), x.clip(0, self.width - 1)]
        return free

    def distances(
        self,
        points: Floats,  # (..., 2)
    ) -> Floats:  # (..., 5)
        """Distances to the five nearest beacons, ascending, in cells.

        Exact for points within half a cell of the map; only the beacons that can be among the
        nearest of a point's cell are looked at.
        """
        places = np.floor(points).astype(np.int64)
        x = places[..., 0].clip(0, self.width - 1)
        y = places[..., 1].clip(0, self.height - 1)
        near = self._near[y, x]
        squares = np.square(near[..., 0] - points[..., :1])
        squares += np.square(near[..., 1] - points[..., 1:])
        squares.partition(NEAREST - 1, axis=-1)
        nearest: Floats = np.sqrt(np.sort(squares[..., :NEAREST], axis=-1))
        return nearest


def _candidates(height: int, width: int, beacons: Floats) -> Floats:
    """Beacons that may be among the nearest five of some point of a cell, (H, W, C, 2).

    A beacon is none of them if it is everywhere farther away than five others are anywhere: if its
    least distance to the cell is above the fifth smallest of the greatest distances.
    """
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    centres = np.stack((x, y), axis=-1)[:, :, None] + 0.5  # (H, W, 1, 2)
    apart = np.abs(beacons - centres)  # (H, W, M, 2)
    half = 0.5 + _MARGIN
    least = np.linalg.norm((apart - half).clip(0), axis=-1)  # (H, W, M)
    greatest = np.linalg.norm(apart + half, axis=-1)
    limit = np.sort(greatest, axis=-1)[..., NEAREST - 1 : NEAREST]
    kept = least <= limit
    count = int(kept.sum(axis=-1).max())
    order = np.argsort(~kept, axis=-1, kind="stable")[..., :count]  # the kept ones first
    near = beacons[order]
    near[~np.take_along_axis(kept, order, axis=-1)] = _FAR
    return near


def maze_of(name: str, rows: Sequence[str]) -> Maze:
    """A map from rows of the digits 0 (free), 1 (wall) and 2 (beacon), the first row at the top.

    Raises:
        DataError: other characters, rows of different lengths, too few beacons, nothing free.
    """
    if not rows or len(set(map(len, rows))) != 1 or not set("".join(rows)) <= set("012"):
        raise DataError(
            f"maze {name}: rows {shown(list(rows))}; expected rows of one length, of 0 (free), "
            "1 (wall) and 2 (beacon)."
        )
    return Maze(name=name, cells=np.array([[int(c) for c in row] for row in rows], dtype=np.uint8))


def standard_maze(size: int) -> Maze:
    """The published map of 10 x 10 cells, or ours of 18 x 18 or 27 x 27.

    The two larger maps of the paper are not published; these are `generate_maze(size, seed=size)`.

    Raises:
        InputError: another size.
    """
    if size == 10:
        return maze_of("10x10", _TOP_10 + _TOP_10[::-1])
    if size not in (18, 27):
        raise InputError(
            f"maze of size {size}: expected 10, 18 or 27; others are made by generate_maze."
        )
    return generate_maze(size, seed=size)


def generate_maze(size: int, *, seed: int) -> Maze:
    """A map of the character of the published one.

    It is mirrored left to right and top to bottom, so that a single observation leaves four places
    open; 32 % of the cells are walls in straight pieces of two to four cells, half of them beacons;
    and the free cells are connected.

    Raises:
        InputError: fewer than 6 cells on a side.
    """
    if size < 6:
        raise InputError(f"maze of size {size}: expected at least 6 cells on a side.")
    generator = np.random.default_rng([size, seed])
    half = (size + 1) // 2
    walls = np.zeros((size, size), dtype=np.bool_)
    for _ in range(_TRIES):
        if walls.mean() >= _WALLED:
            break
        trial = walls | _mirrored(_piece(half, generator), size)
        # Beside the wanted share a piece must not run over it by much, nor close anything off.
        if trial.mean() <= _WALLED + 0.02 and _connected(~trial):
            walls = trial
    corner = np.argwhere(walls[:half, :half])
    chosen = generator.permutation(len(corner))[: max(len(corner) // 2, 1)]
    marks = np.zeros((half, half), dtype=np.bool_)
    marks[tuple(corner[chosen].T)] = True
    cells = walls.astype(np.uint8) + _mirrored(marks, size)
    return Maze(name=f"{size}x{size}, seed {seed}", cells=cells)


def _piece(half: int, generator: np.random.Generator) -> Mask:
    """One straight piece of wall in a quarter of the map."""
    quarter = np.zeros((half, half), dtype=np.bool_)
    length = int(generator.integers(2, 5))
    row, column = generator.integers(0, half, size=2)
    if generator.random() < 0.5:
        quarter[row, column : column + length] = True
    else:
        quarter[row : row + length, column] = True
    return quarter


def _mirrored(quarter: Mask, size: int) -> Mask:
    """A quarter of the map put into its four corners; of an odd size they share the middle."""
    half = len(quarter)
    whole = np.zeros((size, size), dtype=np.bool_)
    whole[:half, :half] = quarter
    whole |= whole[:, ::-1]
    whole |= whole[::-1]
    return whole


def _connected(free: Mask) -> bool:
    """Whether one can walk from every free cell to every other, over sides."""
    if not free.any():
        return False
    reached = np.zeros_like(free)
    reached.flat[int(free.argmax())] = True
    while True:
        wider = np.pad(reached, 1)
        wider = wider[:-2, 1:-1] | wider[2:, 1:-1] | wider[1:-1, :-2] | wider[1:-1, 2:] | reached
        wider &= free
        if (wider == reached).all():
            return bool((reached == free).all())
        reached = wider
