"""Random networks of all kinds of operations: the small one is the masked one, as it costs.

300 networks with `make test`; `make test-long` draws 10,000 (PRUNELLA_NETWORKS sets the number).
"""

from __future__ import annotations

import os
import random
import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import prunella
from prunella.core.inputs import Inputs
from random_networks import Network, Outcome, build, check, draw_network, inputs_of
from random_networks.checking import random_units

COUNT = int(os.environ.get("PRUNELLA_NETWORKS", "300"))

networks = st.builds(draw_network, st.randoms(use_true_random=False))


@pytest.mark.timeout(max(600, 5 * COUNT))
@settings(
    max_examples=COUNT,
    derandomize=COUNT <= 300,  # the same ones every time; the long run draws others
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example],
)
@given(network=networks)
def test_small_is_masked_costs_what_was_said_and_trains(network: Network):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, about shapes that nobody would choose
        outcome = check(network)
    assert outcome.operations >= 3


def outcomes(seeds: range) -> list[Outcome]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [check(draw_network(random.Random(seed))) for seed in seeds]


def test_the_generator_leaves_enough_to_cut():
    """Else all could pass because everything is frozen."""
    found = outcomes(range(20))
    assert sum(outcome.removed > 0 for outcome in found) >= 12
    assert sum(outcome.removed for outcome in found) >= 50


def test_the_generator_draws_every_kind_of_layer():
    from random_networks.layers import LAYERS

    drawn = {s.kind for seed in range(200) for s in draw_network(random.Random(seed)).steps}
    assert drawn == set(LAYERS)


def test_a_network_is_its_data():
    network = draw_network(random.Random(11))
    assert network == draw_network(random.Random(11))
    first, second = build(network).state_dict(), build(network).state_dict()
    assert list(first) == list(second)
    assert all(bool((first[name] == second[name]).all()) for name in first)
    given_inputs = Inputs.of(inputs_of(network, 2))
    build(network)(*given_inputs.args, **given_inputs.kwargs)


def test_random_units_respect_what_must_stay_equal():
    found = 0
    for seed in range(30):
        network = draw_network(random.Random(seed), most=8)
        graph = prunella.trace(build(network), inputs_of(network, 1))
        kept = random_units(graph, random.Random(seed))
        by_balance: dict[str, set[int]] = {}
        for group in graph.prunable:
            assert len(kept[group.name]) >= 1
            if group.balance:
                by_balance.setdefault(group.balance, set()).add(len(kept[group.name]))
        found += len(by_balance)
        assert all(len(counts) == 1 for counts in by_balance.values())
    assert found
