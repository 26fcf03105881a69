"""Walks through a maze, and the task of saying where one is.

Source: Ma, Karkus, Hsu and Lee, "Particle filter recurrent neural networks", AAAI 2020
(arXiv 1905.12885); the steps are those of its public code. What differs is said where it does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from prunella.core.errors import InputError
from prunella.sequences.maze import NEAREST, Floats, Maze
from prunella.sequences.sets import SequenceSet

Heading = Literal["circular", "radians"]

SPEED = 0.2  # cells per step
SPEED_NOISE = 0.02  # cells per step, uniform, either way
DISTANCE_NOISE = 0.1  # cells, uniform, either way
_HEADING_NOISE = (0.02, 3.0)  # degrees, two uniform terms, either way
_TURN = 360.0  # degrees


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Walks:
    """Walks of one length.

    Attributes:
        poses: x and y in cells and the heading in degrees (0 upwards, 90 to the right), at the
            time of the observation; float64, shape (N, T, 3).
        moves: Change of the pose after the observation, free of noise; shape (N, T, 3). Headings
            change only by a collision, by less than 360 degrees either way.
        distances: To the five nearest beacons in cells, sorted before their noise was added;
            shape (N, T, 5).
    """

    poses: Floats  # (N, T, 3)
    moves: Floats  # (N, T, 3)
    distances: Floats  # (N, T, 5)


def walk(maze: Maze, count: int, length: int, *, generator: np.random.Generator) -> Walks:
    """Random walks from uniform places of the free space, all at once.

    At each step: the distances to the five nearest beacons are seen, each with a noise of
    U(-0.1, 0.1); then the walker goes on by 0.2 + U(-0.02, 0.02) in the direction of its heading
    + U(-0.02, 0.02) + U(-3, 3) degrees. Where that would end in a wall or outside, it draws a
    new heading, U(0, 360), and tries again, with new noise, until it can go.

    Raises:
        InputError: no walk, or no step.
    """
    if count < 1 or length < 1:
        raise InputError(f"{count} walks of {length} steps: expected at least one of each.")
    poses, moves = np.empty((count, length, 3)), np.empty((count, length, 3))
    distances = np.empty((count, length, NEAREST))
    cells = maze.free_cells
    place = cells[generator.integers(len(cells), size=count)] + generator.random((count, 2))
    heading = generator.uniform(0, _TURN, size=count)
    for t in range(length):
        noise = generator.uniform(-DISTANCE_NOISE, DISTANCE_NOISE, size=(count, NEAREST))
        distances[:, t] = maze.distances(place) + noise
        poses[:, t, :2], poses[:, t, 2] = place, heading
        step, new_heading = _moved(maze, place, heading, generator)
        place = place + step
        moves[:, t, :2], moves[:, t, 2] = step, new_heading - heading
        heading = new_heading
    return Walks(poses=poses, moves=moves, distances=distances)


def _moved(
    maze: Maze,
    place: Floats,  # (N, 2)
    heading: Floats,  # (N,) degrees
    generator: np.random.Generator,
) -> tuple[Floats, Floats]:  # (N, 2), (N,)
    """Displacements that end in free space, and headings."""
    step, heading = np.empty_like(place), heading.copy()
    waiting = np.arange(len(place))
    while True:
        fine, coarse = (generator.uniform(-n, n, size=len(waiting)) for n in _HEADING_NOISE)
        speed = SPEED + generator.uniform(-SPEED_NOISE, SPEED_NOISE, size=len(waiting))
        angle = np.deg2rad(heading[waiting] + fine + coarse)
        tried = speed[:, None] * np.stack((np.sin(angle), np.cos(angle)), axis=1)
        step[waiting] = tried
        waiting = waiting[~maze.is_free(place[waiting] + tried)]
        if not len(waiting):
            return step, heading
        heading[waiting] = generator.uniform(0, _TURN, size=len(waiting))


def walk_set(
    maze: Maze,
    walks: Walks,
    *,
    name: str,
    shift: bool = True,
    heading: Heading = "circular",
) -> SequenceSet:
    """The task: at each step, from what was seen so far, say where the walker is.

    A step has five distances in cells, and three numbers of a move: dx and dy in cells, and the
    change of heading. Targets lie in [0, 1]; `SequenceSet.in_units` turns them back.

    Args:
        maze: The map, for the scale of the targets.
        walks: As `walk` makes them.
        name: For reports.
        shift: Whether a step holds the move that led to its observation, as a Bayes filter reads
            them; the first then holds zeros. The public code (False) gives the move that follows.
        heading: "radians", as in the public code: the target is the heading / (2 pi), and the move
            has its change in degrees, up to 360 either way. "circular": the targets are sine and
            cosine, so that 1 degree and 359 are near each other, and the move has its change in
            whole turns.

    Raises:
        InputError: no such way to write a heading.
    """
    if heading not in get_args(Heading):
        raise InputError(f"heading {heading!r}: expected one of {', '.join(get_args(Heading))}.")
    moves = walks.moves.copy()
    if shift:
        moves[:, 1:] = walks.moves[:, :-1]
        moves[:, 0] = 0
    angle = np.deg2rad(walks.poses[..., 2:])
    names: tuple[str, ...] = ("heading",)
    scale: tuple[float, ...] = (float(maze.width), float(maze.height), 2 * np.pi)
    offset: tuple[float, ...] = (0.0, 0.0, 0.0)
    if heading == "circular":
        moves[..., 2] /= _TURN
        angle = np.concatenate((np.sin(angle), np.cos(angle)), axis=-1)
        names, scale, offset = ("sin", "cos"), (*scale[:2], 2.0, 2.0), (0.0, 0.0, -1.0, -1.0)
    targets = np.concatenate((walks.poses[..., :2], angle), axis=-1)
    return SequenceSet(
        name=name,
        inputs=_float32(np.concatenate((walks.distances, moves), axis=-1)),
        targets=_float32((targets - np.array(offset)) / np.array(scale)),
        lengths=None,
        features=(*(f"distance {i}" for i in range(1, NEAREST + 1)), "dx", "dy", "turn"),
        outputs=("x", "y", *names),
        scale=scale,
        shift=offset,
    )


def _float32(values: Floats) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))
