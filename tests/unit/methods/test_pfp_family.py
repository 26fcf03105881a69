"""The variants that draw: exactly the allocated channels, and weights that are right on average."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import prunella
from prunella.allocate import DELTA, shared_error
from prunella.core.types import ChannelScores
from prunella.methods import METHODS
from prunella.sampling import inclusion, split_channels

DRAWN = ("pfp-random", "pfp-hybrid", "pfp-systematic")
BUDGET = prunella.Params(0.5)


@pytest.fixture
def graph():
    model = nn.Sequential(nn.Linear(4, 10), nn.ReLU(), nn.Linear(10, 6), nn.ReLU(), nn.Linear(6, 3))
    return prunella.trace(model, torch.zeros(1, 4))


def scores_of(graph, *, by_group=None, sums=50):
    generator = torch.Generator().manual_seed(5)
    values = {g.name: torch.rand(g.size, generator=generator) for g in graph.prunable}
    return ChannelScores(
        method="pfp", by_group={**values, **(by_group or {})}, sums=dict.fromkeys(values, sums)
    )


def selected(name, graph, scores, seed, *, multiple=1, budget=BUDGET):
    generator = torch.Generator().manual_seed(seed)
    return METHODS[name].select(graph, scores, budget, multiple=multiple, generator=generator)


def wide():
    """Many alike beside two that matter: removing half of them loses more than drawing does."""
    model = nn.Sequential(nn.Linear(2, 60), nn.ReLU(), nn.Linear(60, 3))
    values = torch.full((60,), 0.5)
    values[[7, 31]] = 0.9
    graph = prunella.trace(model, torch.zeros(1, 2))
    return graph, ChannelScores(method="pfp", by_group={"0": values}, sums={"0": 4})


def full_weights(selection, group):
    """By what each channel is multiplied; 0 for those that go."""
    weights = torch.zeros(group.size, dtype=torch.float64)
    kept = selection.kept[group.name]
    weights[kept] = selection.scales.get(group.name, torch.ones(len(kept), dtype=torch.float64))
    return weights


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("multiple", [1, 2, 3])
@pytest.mark.parametrize("share", [0.35, 0.5, 0.8])
def test_as_many_channels_as_the_allocation_says(graph, name, multiple, share):
    """So the budget is met whatever is drawn."""
    scores = scores_of(graph)
    budget = prunella.Params(share)
    expected = shared_error(graph, scores, budget, multiple=multiple)
    for seed in range(20):
        found = selected(name, graph, scores, seed, multiple=multiple, budget=budget)
        assert found.allocation == expected
        for group in graph.prunable:
            kept = found.kept[group.name]
            assert len(kept) == expected.kept[group.name]
            assert kept.tolist() == sorted(set(kept.tolist()))
            if group.name in found.scales:
                scales = found.scales[group.name]
                assert scales.shape == kept.shape
                assert scales.dtype == torch.float64
                assert bool((scales > 0).all())


@pytest.mark.parametrize("name", DRAWN)
def test_weights_are_right_on_average(name):
    graph, scores = wide()
    group, trials = graph.group("0"), 1000
    drawn = torch.stack(
        [full_weights(selected(name, graph, scores, seed), group) for seed in range(trials)]
    )
    error = drawn.std(0) / math.sqrt(trials)
    assert int((error > 0).sum()) > 50
    assert bool(((drawn.mean(0) - 1).abs() < 4.5 * error + 1e-9).all())


@pytest.mark.parametrize("name", DRAWN)
def test_the_seed_is_all_the_randomness(name):
    graph, scores = wide()
    torch.manual_seed(1)
    state = torch.get_rng_state()
    a, b, c = (selected(name, graph, scores, seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(a.kept["0"], b.kept["0"])
    assert torch.equal(a.scales["0"], b.scales["0"])
    assert not torch.equal(a.kept["0"], c.kept["0"])


def test_pfp_itself_has_no_weights(graph):
    assert dict(selected("pfp", graph, scores_of(graph), 0).scales) == {}


def test_hybrid_draws_where_that_has_the_smaller_bound():
    graph, scores = wide()
    count = shared_error(graph, scores, BUDGET).kept["0"]
    certain = split_channels(scores["0"].double().numpy(), count, 4, DELTA).certain
    assert certain < count
    found = [selected("pfp-hybrid", graph, scores, seed) for seed in range(20)]
    assert len({tuple(one.kept["0"].tolist()) for one in found}) > 10
    top = scores["0"].argsort(descending=True, stable=True)[:certain].tolist()
    for one in found:
        assert all(full_weights(one, graph.group("0"))[unit] == 1 for unit in top)
        assert len(one.kept["0"]) == count


def test_hybrid_keeps_the_largest_where_that_has_the_smaller_bound(graph):
    values = torch.tensor([0.9, 0.01, 0.8, 0.02, 0.03, 0.85, 0.02, 0.01, 0.02, 0.01])
    scores = scores_of(graph, by_group={"0": values})
    count = shared_error(graph, scores, BUDGET).kept["0"]
    assert split_channels(values.double().numpy(), count, 50, DELTA).certain == count
    found = selected("pfp-hybrid", graph, scores, 0)
    assert "0" not in found.scales
    assert torch.equal(found.kept["0"], selected("pfp", graph, scores, 0).kept["0"])


def test_systematic_draws_keep_what_has_probability_one(graph):
    values = torch.tensor([5.0, 0.1, 4.0, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1])
    scores = scores_of(graph, by_group={"0": values})
    count = shared_error(graph, scores, BUDGET).kept["0"]
    chances = inclusion(values.double().numpy(), count)
    assert np.flatnonzero(chances == 1).tolist() == [0, 2]
    for seed in range(10):
        found = selected("pfp-systematic", graph, scores, seed)
        kept = found.kept["0"].tolist()
        assert {0, 2} <= set(kept)
        np.testing.assert_allclose(found.scales["0"].numpy(), 1 / chances[kept])


@pytest.mark.parametrize("name", DRAWN)
def test_nothing_is_left_to_chance_where_all_that_contribute_stay(graph, name):
    values = torch.zeros(10)
    values[[2, 7]] = torch.tensor([0.5, 0.3])
    scores = scores_of(graph, by_group={"0": values})
    found = selected(name, graph, scores, 0, multiple=4)
    assert len(found.kept["0"]) == 4
    assert {0, 1, 2, 7} == set(found.kept["0"].tolist())
    assert "0" not in found.scales
