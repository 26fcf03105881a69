"""A belief learns: two modes, until a late cue decides; and to find its way in the maze."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
import torch

from prunella.retrain import assess, fit
from prunella.tasks import (
    RECIPE,
    Architecture,
    ConstantPredictor,
    TaskData,
    build,
    equal_sized,
    objective_for,
    read_task,
)

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture
def two_sides(monkeypatch):
    """The script that makes the walks: away from 0, the side shown late."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module("two_sides")
    for name in ("two_sides", "_sequences"):
        sys.modules.pop(name, None)


def learned(architecture, data, seed):
    """A network after 64 updates of its weights, and its error of the last step."""
    torch.manual_seed(seed)
    network = build(architecture, data)
    objective = objective_for(architecture, data)
    recipe = RECIPE.model_copy(update={"epochs": 16, "learning_rate": 0.01})
    fit(network, data.train.loader(128, shuffle=True), recipe, seed=seed, objective=objective)
    found = assess(network, data.test.loader(256), objective, seed=0)
    return network, found["loss_last"]


def test_particles_keep_both_sides_until_the_cue_decides(two_sides):
    """Before the cue no single guess can be right: particles stand on both sides, the mean near 0.

    After it the error is below that of an LSTM of as many parameters. With longer training the
    LSTM comes near the exact filter, and is better (docs/guide/recurrent-results.md).
    """
    walks, cue = two_sides.walks, two_sides.CUE
    data = TaskData(train=walks(512, 1), validation=walks(128, 2), test=walks(256, 3))
    architecture = Architecture(
        core="pf-gru", particles=12, hidden=16, dropout=0.0, scheme="systematic",
        resampling="ess", noise=0.7, beta=1.0,
    )  # fmt: skip
    plain = equal_sized(architecture.model_copy(update={"core": "lstm"}), data, architecture)
    found = [learned(architecture, data, seed) for seed in (0, 1)]
    of_lstm = [learned(plain, data, seed)[1] for seed in (0, 1)]
    assert sum(error for _, error in found) < 0.6 * sum(of_lstm)
    constant = assess(
        ConstantPredictor(data), data.test.loader(256), objective_for(architecture, data), seed=0
    )
    assert all(error < 0.02 * constant["loss_last"] for _, error in found)
    torch.manual_seed(0)
    with torch.no_grad():
        predictions, _ = found[0][0].eval().unroll(data.test.inputs)
    places = predictions.particles[..., 0]  # (B, T, K)
    truth = data.test.targets[..., 0]  # (B, T)
    right = (places * truth.sign().unsqueeze(-1) > 0).float().mean(-1)
    before, after = right[:, cue - 1], right[:, -1]
    assert float(((before > 0) & (before < 1)).float().mean()) > 0.8
    assert 0.3 < float(before.mean()) < 0.7
    assert float(after.mean()) > 0.95
    far = float(truth[:, cue - 1].abs().mean())
    assert float(predictions.mean[:, cue - 1, 0].abs().mean()) < 0.3 * far


def test_a_belief_learns_the_maze():
    """Some 150 updates: still far from the exact filter, clearly below the best constant."""
    data = read_task("maze10", seed=0, sequences=600, steps=30)
    architecture = Architecture(core="pf-gru", particles=4, hidden=24, dropout=0.0)
    torch.manual_seed(0)
    network = build(architecture, data)
    objective = objective_for(architecture, data)
    fit(
        network, data.train.loader(32, shuffle=True),
        RECIPE.model_copy(update={"epochs": 8, "learning_rate": 0.003}), seed=0,
        objective=objective, validation=data.selection(),
    )  # fmt: skip
    loader = data.test.loader(250)
    constant = assess(ConstantPredictor(data), loader, objective, seed=0)["loss_last"]
    assert 8 < constant < 10
    assert assess(network, loader, objective, seed=0)["loss_last"] < 0.8 * constant
