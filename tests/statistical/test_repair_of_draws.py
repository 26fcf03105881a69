"""Drawn weights are right on average until they are repaired; then each draw is nearer instead."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

import prunella
from prunella.repair import reconstruct

DRAWS = 600
LIMIT = 4  # standard errors


@pytest.fixture(scope="module")
def drawn():
    """What a layer gives: (n, 3) of the original, (DRAWS, n, 3) of the cut and the repaired."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).double().eval()
        samples = torch.randn(40, 6, dtype=torch.float64)
    graph = prunella.trace(model, samples[:1])
    scores = prunella.sensitivities(model, graph, [samples])
    cut, repaired = [], []
    for seed in range(DRAWS):
        plan = prunella.plan(graph, scores, prunella.Params(0.7), "pfp-random", seed=seed)
        assert plan.scales
        small = plan.apply(model)
        solved = copy.deepcopy(small)
        generator = torch.Generator().manual_seed(seed)
        reconstruct(model, solved, graph, plan.kept, samples, generator=generator)
        with torch.no_grad():
            cut.append(small(samples))
            repaired.append(solved(samples))
    with torch.no_grad():
        return model(samples), torch.stack(cut), torch.stack(repaired)


def in_standard_errors(found, expected):
    """By how many its mean over the draws is off."""
    return (found.mean(dim=0) - expected) / (found.std(dim=0) / math.sqrt(DRAWS))


def test_the_cut_is_right_on_average(drawn):
    expected, cut, _ = drawn
    assert in_standard_errors(cut, expected).abs().max() < LIMIT


def test_the_repaired_is_not(drawn):
    expected, _, repaired = drawn
    off = in_standard_errors(repaired, expected).abs()
    assert (off > LIMIT).double().mean() > 0.5  # of all samples and outputs


def test_but_every_single_draw_is_nearer(drawn):
    expected, cut, repaired = drawn
    errors = [(found - expected).square().sum(dim=(1, 2)) for found in (repaired, cut)]
    assert bool((errors[0] <= errors[1]).all())
    assert errors[0].mean() < 0.2 * errors[1].mean()


def test_what_is_lost_on_average_is_the_squared_error(drawn):
    """Proposition 4: <z, mean> = |z|^2 - mean squared error, up to the ridge."""
    expected, _, repaired = drawn
    error = (repaired - expected).square().sum(dim=(1, 2)).mean()
    along = (repaired.mean(dim=0) * expected).sum()
    assert error > 1e-3 * expected.square().sum()
    assert float(along) == pytest.approx(float(expected.square().sum() - error), rel=1e-3)
