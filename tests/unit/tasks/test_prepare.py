"""Tasks made ready: samples, equal parameters, constants, beliefs as plain data, learning."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from prunella.core.errors import InputError
from prunella.retrain import assess, fit
from prunella.sequences import SequenceSet
from prunella.tasks import (
    RECIPE,
    Architecture,
    ConstantPredictor,
    TaskData,
    belief_walks,
    build,
    equal_sized,
    hidden_size_for,
    objective_for,
    parameter_count,
    read_task,
)

SMALL = Architecture(hidden=8, particles=6, dropout=0.0)


@pytest.fixture(scope="module")
def maze():
    return read_task("maze10", sequences=24, steps=6)


def classes(words=True):
    """Sequences of different lengths, of words or of numbers, and a class for each."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randint(0, 5, (12, 4), generator=generator)
    if not words:
        inputs = torch.randn(12, 4, 5, generator=generator)
    samples = SequenceSet(
        name="own", inputs=inputs, targets=torch.arange(12) % 3,
        lengths=torch.randint(1, 5, (12,), generator=generator),
        features=tuple("abcde"), outputs=("x", "y", "z"),
    )  # fmt: skip
    return TaskData(train=samples, validation=samples, test=samples)


def test_sizes_of_the_parts(maze):
    assert [len(part) for part in (maze.train, maze.validation, maze.test)] == [24, 6, 24]
    assert maze.train.inputs.shape == (24, 6, 8)
    assert maze.maze.width == 10
    assert maze.figure == maze.selection().figure == "loss_last"
    assert not maze.selection().largest
    assert classes().figure == "accuracy"
    assert classes().selection().largest


@pytest.mark.parametrize("core", ["pf-lstm", "gru", "bn-lstm"])
@pytest.mark.parametrize("words", [True, False])
def test_classes_from_words_or_numbers_can_be_learnt_from(core, words):
    data = classes(words)
    architecture = SMALL.model_copy(update={"core": core})
    network = build(architecture, data)
    recipe = RECIPE.model_copy(update={"epochs": 2})
    before = parameter_count(network)
    records = fit(
        network, data.train.loader(6, shuffle=True), recipe, seed=0,
        objective=objective_for(architecture, data), validation=data.selection(),
    )  # fmt: skip
    assert len(records) == 2
    assert 0 <= records[-1].held_out["accuracy"] <= 1
    assert records[-1].accuracy == records[-1].accuracy
    assert parameter_count(network) == before


def test_the_objective_of_the_maze_counts_a_tenth_of_the_heading(maze):
    objective = objective_for(SMALL, maze)
    x, y, sine, cosine = objective.sigma
    assert (x, y) == (0.1, 0.1)  # one cell
    assert (x / sine) ** 2 == pytest.approx(0.1)
    assert sine == cosine
    assert (objective.judged, objective.growth) == (2, 0.1)


# -- equal parameters ----------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", [1, 57, 1_000, 10_007])
def test_hidden_size_is_the_nearest_of_all(wanted):
    def make(hidden):
        return nn.GRU(4, hidden)

    found = hidden_size_for(wanted, make)
    distances = [abs(parameter_count(make(hidden)) - wanted) for hidden in range(1, 80)]
    assert found == 1 + int(np.argmin(distances))


@pytest.mark.parametrize("core", ["lstm", "gru", "bn-lstm", "bn-gru"])
@pytest.mark.parametrize("reference", ["pf-lstm", "pf-gru"])
def test_equal_networks_have_as_many_parameters(core, reference, maze):
    whole = Architecture(core=reference)
    found = equal_sized(whole.model_copy(update={"core": core}), maze, whole)
    sizes = [parameter_count(build(a, maze)) for a in (whole, found)]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.01)
    assert (found.core, found.hidden == whole.hidden) == (core, False)


# -- constants -----------------------------------------------------------------------------------


def test_no_constant_is_better_on_the_training_samples(maze):
    """The mean is the best constant for squared errors: moving it any way makes them larger."""
    data = TaskData(train=maze.train, validation=maze.train, test=maze.train, maze=maze.maze)
    objective, loader = objective_for(SMALL, data), data.test.loader(100)
    model = ConstantPredictor(data)
    best = assess(model, loader, objective, seed=0)["mse"]
    places = data.train.in_units(data.train.targets)[..., :2].flatten(0, 1)
    assert best == pytest.approx(float(places.var(0, unbiased=False).mean()), rel=1e-4)
    for coordinate in (0, 1):
        for step in (-0.02, 0.02):
            with torch.no_grad():
                model.constant[coordinate] += step
            assert assess(model, loader, objective, seed=0)["mse"] > best
            with torch.no_grad():
                model.constant[coordinate] -= step


def test_the_constant_of_classes_is_the_commonest():
    data = classes()
    with torch.no_grad():
        data.train.targets[:6] = 2
    found = assess(ConstantPredictor(data), data.test.loader(5), objective_for(SMALL, data), seed=0)
    assert found["accuracy"] == pytest.approx(float((data.test.targets == 2).float().mean()))


def test_the_constant_leaves_padding_out():
    lengths = torch.tensor([1, 2])
    targets = torch.tensor([[[1.0], [99.0]], [[2.0], [6.0]]])
    samples = SequenceSet(
        name="own", inputs=torch.zeros(2, 2, 1), targets=targets, lengths=lengths,
        features=("a",), outputs=("b",), scale=(1.0,), shift=(0.0,),
    )  # fmt: skip
    data = TaskData(train=samples, validation=samples, test=samples)
    assert ConstantPredictor(data)(samples.inputs).mean.flatten().tolist() == [3.0] * 4


# -- beliefs -------------------------------------------------------------------------------------


def test_beliefs_as_plain_data(maze):
    torch.manual_seed(0)
    network = build(SMALL, maze)
    walks = belief_walks(network, maze.test, count=2, seed=5)
    assert [walk.name for walk in walks] == ["walk 1", "walk 2"]
    assert walks == belief_walks(network, maze.test, count=2, seed=5)
    assert walks != belief_walks(network, maze.test, count=2, seed=6)
    torch.manual_seed(5)
    with torch.no_grad():
        predictions, trajectory = network.eval().unroll(maze.test.inputs[:2])
    for row, walk in enumerate(walks):
        poses = maze.test.in_units(maze.test.targets)[row]
        assert np.allclose(walk.truth, poses[:, :2])
        assert np.allclose(walk.mean, 10 * predictions.mean[row, :, :2], atol=1e-5)
        assert np.allclose(walk.particles, 10 * predictions.particles[row, ..., :2], atol=1e-5)
        assert np.allclose(np.sum(walk.weights, axis=1), 1, atol=1e-5)
        assert np.allclose(walk.weights, trajectory.log_weights[row].exp(), atol=1e-6)
        assert all(1 <= value <= 6 + 1e-4 for value in walk.effective)
        for heading, (_, _, sine, cosine) in zip(walk.headings, poses.tolist(), strict=True):
            assert 0 <= heading < 360
            assert math.sin(math.radians(heading)) == pytest.approx(sine, abs=1e-4)
            assert math.cos(math.radians(heading)) == pytest.approx(cosine, abs=1e-4)


def test_beliefs_need_walks_and_particles(maze):
    with pytest.raises(InputError, match="predicts x, y, z; expected walks through a maze"):
        belief_walks(build(SMALL, maze), classes().test, count=1, seed=0)
    gated = build(SMALL.model_copy(update={"core": "lstm"}), maze)
    with pytest.raises(InputError, match="core is LSTM, which has no belief to look at"):
        belief_walks(gated, maze.test, count=1, seed=0)
