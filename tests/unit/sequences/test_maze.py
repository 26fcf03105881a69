"""Maps, walks and the task made of them."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from prunella.core.errors import DataError, InputError
from prunella.sequences import generate_maze, load, maze_of, standard_maze, walk, walk_set

SIZES = (10, 18, 27)
# So that a change of NumPy's streams, which would change the maps, is noticed.
DIGESTS = {18: "9f64585a77d3935f", 27: "9fd4c4a9f0ff840d"}


@pytest.fixture(scope="module", params=SIZES)
def maze(request):
    return standard_maze(request.param)


@pytest.fixture(scope="module")
def walks():
    return walk(standard_maze(10), 1000, 80, generator=np.random.default_rng(0))


def brute_distances(maze, points):
    apart = np.linalg.norm(points[..., None, :] - maze.beacons, axis=-1)
    return np.sort(apart, axis=-1)[..., :5]


# -- maps ---------------------------------------------------------------------------------------


def test_the_published_map():
    maze = standard_maze(10)
    counts = np.bincount(maze.cells.ravel())
    assert counts.tolist() == [68, 16, 16]
    assert maze.beacons.shape == (64, 2)
    assert len(np.unique(maze.beacons, axis=0)) == 48
    # Row 0 is at the top: the upper left beacon cell has x from 1 to 2 and y from 9 to 10.
    assert {(1, 9), (2, 9), (1, 10), (2, 10)} <= set(map(tuple, maze.beacons.astype(int).tolist()))
    assert not maze.is_free(np.array([[1.5, 9.5]]))
    assert maze.is_free(np.array([[0.5, 9.5]]))


def test_all_maps_are_connected_and_mirrored(maze):
    assert ndimage.label(maze.free)[1] == 1
    assert (maze.cells == maze.cells[:, ::-1]).all()
    assert (maze.cells == maze.cells[::-1]).all()
    assert 0.3 <= (maze.cells > 0).mean() <= 0.34
    assert 0.35 <= (maze.cells == 2).sum() / (maze.cells > 0).sum() <= 0.65
    assert len(maze.beacons) == 4 * (maze.cells == 2).sum()


@pytest.mark.parametrize("size", DIGESTS)
def test_generated_maps_stay_what_they_are(size):
    digest = hashlib.sha256(standard_maze(size).cells.tobytes()).hexdigest()
    assert digest[:16] == DIGESTS[size]
    assert (standard_maze(size).cells == generate_maze(size, seed=size).cells).all()
    assert (generate_maze(size, seed=0).cells != generate_maze(size, seed=1).cells).any()


@pytest.mark.parametrize("size", [6, 7, 11])
def test_other_sizes(size):
    for seed in range(5):
        maze = generate_maze(size, seed=seed)
        assert ndimage.label(maze.free)[1] == 1
        assert maze.width == maze.height == size


def test_free_cells_and_points(maze):
    cells = maze.free_cells
    assert len(cells) == maze.free.sum() == (maze.cells == 0).sum()
    assert maze.is_free(cells + 0.5).all()
    assert maze.is_free(cells.astype(float)).all()  # the lower left corner belongs to the cell
    size = float(maze.width)
    outside = np.array([[-0.1, 5], [5, -0.1], [size, 4.5], [4.5, size], [size + 3, 4.5]])
    assert not maze.is_free(outside).any()


def test_distances_are_those_to_all_beacons(maze):
    generator = np.random.default_rng(1)
    points = generator.uniform(-0.5, maze.width + 0.5, size=(3000, 2))
    np.testing.assert_allclose(maze.distances(points), brute_distances(maze, points), atol=1e-12)
    grid = points.reshape(50, 60, 2)
    assert (maze.distances(grid).reshape(-1, 5) == maze.distances(points)).all()


def test_one_corner_can_be_two_of_the_nearest():
    """Published that way: beacon cells that touch share corners, and each counts its own."""
    maze = standard_maze(10)
    ((first, second, *_),) = maze.distances(np.array([[1.05, 7.95]]))
    assert first == second


def test_a_map_of_ones_own():
    maze = maze_of("own", ("0002", "0100", "2000"))
    assert (maze.height, maze.width) == (3, 4)
    assert maze.is_free(np.array([[3.5, 2.5], [0.5, 0.5], [1.5, 1.5], [2.5, 1.5]])).tolist() == [
        False,
        False,
        False,
        True,
    ]
    assert not maze.cells.flags.writeable


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ((), "expected rows of one length"),
        (("02", "020"), "expected rows of one length"),
        (("02", "3x"), "expected rows of one length"),
        (("02", "00"), "1 beacon cells and 3 free cells; expected at least two and one"),
        (("22", "22"), "4 beacon cells and 0 free cells"),
    ],
)
def test_maps_that_cannot_be(rows, words):
    with pytest.raises(DataError, match=f"maze own: .*{words}"):
        maze_of("own", rows)


def test_sizes_that_cannot_be():
    with pytest.raises(InputError, match="maze of size 12: expected 10, 18 or 27"):
        standard_maze(12)
    with pytest.raises(InputError, match="at least 6 cells"):
        generate_maze(5, seed=0)


# -- walks --------------------------------------------------------------------------------------


def test_each_pose_is_the_last_one_and_its_move(walks):
    np.testing.assert_array_equal(
        walks.poses[:, 1:, :2], walks.poses[:, :-1, :2] + walks.moves[:, :-1, :2]
    )
    np.testing.assert_allclose(
        walks.poses[:, 1:, 2], walks.poses[:, :-1, 2] + walks.moves[:, :-1, 2], atol=1e-9
    )


def test_every_pose_is_free(maze):
    walks = walk(maze, 200, 80, generator=np.random.default_rng(1))
    assert maze.is_free(walks.poses[..., :2]).all()
    assert maze.is_free(walks.poses[:, -1, :2] + walks.moves[:, -1, :2]).all()


def test_what_is_seen_is_near_the_truth(walks):
    truth = brute_distances(standard_maze(10), walks.poses[..., :2])
    error = walks.distances - truth
    assert np.abs(error).max() <= 0.1
    assert stats.kstest((error.ravel() + 0.1)[::40] / 0.2, "uniform").pvalue > 1e-3


def test_moves_have_the_published_speeds_and_directions(walks):
    speed = np.hypot(walks.moves[..., 0], walks.moves[..., 1])
    assert speed.min() >= 0.18 - 1e-12
    assert speed.max() <= 0.22 + 1e-12
    free = walks.moves[..., 2] == 0
    # In free space, 0.2 cells on average; at a wall short steps are likelier to be possible.
    assert abs(speed[free].mean() - 0.2) < 5e-4
    headed = np.rad2deg(np.arctan2(walks.moves[..., 0], walks.moves[..., 1]))
    heading = walks.poses[..., 2] + walks.moves[..., 2]
    off = (headed - heading + 180) % 360 - 180
    assert np.abs(off).max() <= 3.02 + 1e-9
    assert np.abs(off).max() > 2.9


def test_one_step_in_nine_is_a_collision(walks):
    turned = walks.moves[..., 2] != 0
    rate = turned.mean(axis=1)
    assert abs(rate.mean() - 0.11) < 0.01
    assert np.abs(walks.moves[..., 2]).max() < 360
    assert 0 <= walks.poses[..., 2].min() <= walks.poses[..., 2].max() < 360


def test_starts_are_uniform(walks):
    cells = np.floor(walks.poses[:, 0, :2]).astype(int)
    places = {tuple(cell): i for i, cell in enumerate(standard_maze(10).free_cells.tolist())}
    counts = np.bincount([places[tuple(c)] for c in cells.tolist()], minlength=68)
    assert stats.chisquare(counts).pvalue > 1e-3
    assert stats.kstest(walks.poses[:, 0, 0] % 1, "uniform").pvalue > 1e-3
    assert stats.kstest(walks.poses[:, 0, 2] / 360, "uniform").pvalue > 1e-3


def test_a_walk_follows_its_seed():
    maze = standard_maze(10)

    def made(seed):
        return walk(maze, 3, 9, generator=np.random.default_rng(seed))

    for name in ("poses", "moves", "distances"):
        assert (getattr(made(0), name) == getattr(made(0), name)).all()
        assert (getattr(made(0), name) != getattr(made(1), name)).any()


def test_walks_that_cannot_be():
    maze, generator = standard_maze(10), np.random.default_rng(0)
    for count, length in ((0, 5), (5, 0)):
        with pytest.raises(InputError, match="expected at least one of each"):
            walk(maze, count, length, generator=generator)


# -- the task -----------------------------------------------------------------------------------


def test_targets_are_scaled_and_come_back(walks):
    maze = standard_maze(10)
    for heading, width in (("circular", 4), ("radians", 3)):
        made = walk_set(maze, walks, name="maze", heading=heading)
        assert made.inputs.shape == (1000, 80, 8)
        assert made.targets.shape == (1000, 80, width)
        assert 0 <= float(made.targets.min()) <= float(made.targets.max()) <= 1
        units = made.in_units(made.targets).double().numpy()
        np.testing.assert_allclose(units[..., :2], walks.poses[..., :2], atol=1e-5)
        angle = np.deg2rad(walks.poses[..., 2])
        if heading == "radians":
            np.testing.assert_allclose(units[..., 2], angle, atol=1e-5)
        else:
            np.testing.assert_allclose(units[..., 2], np.sin(angle), atol=1e-6)
            np.testing.assert_allclose(units[..., 3], np.cos(angle), atol=1e-6)


def test_moves_lead_here_or_away(walks):
    maze = standard_maze(10)
    away = walk_set(maze, walks, name="maze", shift=False, heading="radians").inputs.double()
    here = walk_set(maze, walks, name="maze", shift=True, heading="radians").inputs.double()
    np.testing.assert_allclose(away[..., 5:], walks.moves, atol=1e-4)
    assert (here[:, 0, 5:] == 0).all()
    assert torch.equal(here[:, 1:, 5:], away[:, :-1, 5:])
    assert torch.equal(here[..., :5], away[..., :5])
    np.testing.assert_allclose(away[..., :5], walks.distances, atol=1e-6)
    turns = walk_set(maze, walks, name="maze").inputs.double()
    np.testing.assert_allclose(turns[..., 7] * 360, here[..., 7], atol=1e-4)
    assert turns[..., 7].abs().max() < 1


def test_headings_that_cannot_be(walks):
    with pytest.raises(InputError, match="heading 'degrees': expected one of circular, radians"):
        walk_set(standard_maze(10), walks, name="maze", heading="degrees")


def test_tasks_by_name():
    parts = {
        (name, split, seed): load(name, split, seed=seed, count=20, length=5)
        for name in ("maze10", "maze18")
        for split in ("train", "validation", "test")
        for seed in (0, 1)
    }
    for (name, split, _), part in parts.items():
        assert part.inputs.shape == (20, 5, 8)
        assert part.name == f"maze {'10x10' if name == 'maze10' else '18x18, seed 18'} {split}"
    ids = [part.ids for part in parts.values()]
    assert not any(a.overlap(b) for i, a in enumerate(ids) for b in ids[:i])
    again = load("maze10", "train", count=20, length=5)
    assert torch.equal(again.inputs, parts["maze10", "train", 0].inputs)
    assert torch.equal(again.targets, parts["maze10", "train", 0].targets)
    assert load("maze10", "test").inputs.shape == (1000, 80, 8)
