"""The exact filter of the maze against many particles, and against what symmetry says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from prunella.core.errors import DataError
from prunella.sequences import bayes_means, maze_of, standard_maze, walk
from prunella.sequences.bayes import _seen, _Squares

TINY = maze_of("tiny", ("2000", "0010", "0102", "0000"))


def with_particles(maze, moves, distances, particles):
    """Posterior means and standard errors of one walk, by throwing away particles that misfit."""
    place = particles.copy()
    means, errors = [], []
    for t, seen in enumerate(distances):
        apart = np.linalg.norm(place[:, None] - maze.beacons, axis=-1)
        nearest = np.sort(apart, axis=-1)[:, :5]
        place = place[(np.abs(nearest - seen) <= 0.1).all(axis=1) & maze.is_free(place)]
        means.append(place.mean(axis=0))
        errors.append(place.std(axis=0, ddof=1) / np.sqrt(len(place)))
        assert len(place) >= 20, t
        place = place + moves[t, :2]
    return np.array(means), np.array(errors)


def test_agrees_with_many_particles():
    generator = np.random.default_rng(0)
    walks = walk(TINY, 6, 4, generator=generator)
    cells = TINY.free_cells
    particles = cells[generator.integers(len(cells), size=1_200_000)] + generator.random(
        (1_200_000, 2)
    )
    means = bayes_means(TINY, walks, squares=2000)
    for i in range(6):
        expected, error = with_particles(TINY, walks.moves[i], walks.distances[i], particles)
        # The grid has an error of its own, far below that of the particles.
        assert (np.abs(means[i] - expected) <= 5 * error + 0.001).all()


def test_more_squares_change_little():
    walks = walk(standard_maze(10), 20, 20, generator=np.random.default_rng(1))
    coarse, fine = (bayes_means(standard_maze(10), walks, squares=n) for n in (50, 400))
    truth = walks.poses[..., :2]
    assert np.abs(coarse - fine).mean() < 0.02
    assert abs(np.square(coarse - truth).mean() - np.square(fine - truth).mean()) < 0.02


def test_first_sight_of_a_mirrored_maze_says_nothing():
    maze = standard_maze(10)
    walks = walk(maze, 10, 1, generator=np.random.default_rng(2))
    np.testing.assert_allclose(bayes_means(maze, walks), 5, atol=1e-9)


def test_reads_no_pose_and_nothing_of_the_future():
    maze = standard_maze(10)
    walks = walk(maze, 8, 12, generator=np.random.default_rng(3))
    means = bayes_means(maze, walks)
    changed = replace(walks, poses=np.full_like(walks.poses, np.nan))
    assert (bayes_means(maze, changed) == means).all()
    start = replace(walks, moves=walks.moves[:, :7], distances=walks.distances[:, :7])
    assert (bayes_means(maze, start) == means[:, :7]).all()
    assert np.isfinite(means).all()


def test_the_truth_is_never_lost():
    """The smallest squares still hold it after long walks: the mean ends within their reach."""
    walks = walk(TINY, 40, 60, generator=np.random.default_rng(4))
    error = np.abs(bayes_means(TINY, walks) - walks.poses[..., :2]).max(axis=-1)
    assert error[:, -1].max() < 0.05


def test_another_map_is_noticed():
    walks = walk(standard_maze(10), 5, 40, generator=np.random.default_rng(5))
    with pytest.raises(DataError, match=r"maze tiny: the distances seen in walk \d fit no place"):
        bayes_means(TINY, walks)


def test_squares_in_walls_are_dropped_and_those_at_walls_kept():
    """A square is kept if any of it is free, and counted if its centre is."""
    at_wall, free = np.array([2.9, 2.5]), np.array([3.1, 2.5])  # the cell (2, 2) is a wall
    assert TINY.is_free(np.stack((at_wall, free))).tolist() == [False, True]
    start = np.stack((at_wall, free, np.array([2.7, 2.5])))
    state = _Squares(
        walk=np.array([0, 0, 0]),
        start=start,
        half=np.array([0.2]),
        inside=np.array([True, True, True]),
    )
    # What is seen at the edge, so that the distances fit all three.
    seen = TINY.distances(np.array([[[3.0, 2.5]]]))
    left = _seen(TINY, state, np.zeros((1, 1, 2)), seen, (0,))
    np.testing.assert_array_equal(left.start, start[:2])
    assert left.inside.tolist() == [False, True]
