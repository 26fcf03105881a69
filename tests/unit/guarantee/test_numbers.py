"""The numbers behind a-priori bounds, against slow and obvious evaluations."""

from __future__ import annotations

import math

import numpy as np
import pytest

from prunella.bounds import conformal_rank, conformal_samples_needed
from prunella.core.errors import DataError, InputError
from prunella.guarantee.network import error_through
from prunella.guarantee.numbers import (
    fixed_error,
    floored,
    held_out_limit,
    hybrid_draws,
    random_draws,
)
from prunella.sampling import epsilon, expected_unique, probabilities

SCORES = np.array([0.9, 0.05, 0.4, 0.3, 0.05, 0.7, 0.2])
ALL = np.ones(7, dtype=bool)


def test_scores_of_0_are_raised_to_the_smallest_positive_one():
    assert floored(np.array([0.0, 0.3, 0.1, 0.0])).tolist() == [0.1, 0.3, 0.1, 0.1]
    assert floored(SCORES) is not SCORES
    assert floored(SCORES).tolist() == SCORES.tolist()
    with pytest.raises(InputError, match=r"every one of the 3 scores is 0; expected at least one"):
        floored(np.zeros(3))


@pytest.mark.parametrize("alpha", [0.3, 0.1, 0.05, 0.01, 0.05 / 7])
def test_the_samples_needed_are_the_fewest_that_give_a_rank(alpha):
    needed = conformal_samples_needed(alpha)
    assert conformal_rank(needed, alpha) is not None
    assert needed == 1 or conformal_rank(needed - 1, alpha) is None


def test_the_limit_is_the_order_statistic_of_the_conformal_rank():
    values = np.random.default_rng(0).permutation(39).astype(float)
    # (39 + 1) * 0.95 = 38: the 38th smallest of 0..38
    assert held_out_limit(values, 0.05, "C") == 37
    assert held_out_limit(values, 0.025, "C") == 38
    with pytest.raises(DataError, match=r"39 held-out samples are too few for C at alpha = 0.02: "
                       r"at least 49 are needed. Give more samples or a larger alpha"):  # fmt: skip
        held_out_limit(values, 0.02, "C")


def test_fixed_weights_cost_the_scores_of_what_they_take_or_add():
    weights = np.array([1, 0, 1, 1, 0, 1, 0], dtype=float)
    assert fixed_error(SCORES, weights, 2.0) == pytest.approx(0.6)
    weights[2], weights[0] = 1.5, 0.9
    assert fixed_error(SCORES, weights, 2.0) == pytest.approx(0.6 + 2 * (0.5 * 0.4 + 0.1 * 0.9))
    assert fixed_error(SCORES, np.ones(7), 2.0) == 0


@pytest.mark.parametrize("kept", [1, 2, 4, 6])
def test_draws_are_the_fewest_that_hold_as_many_channels(kept):
    found = random_draws(SCORES, ALL, kept, sums=50, delta=0.01, constant=1.5)
    p = probabilities(SCORES)
    assert expected_unique(p, found.draws) >= kept - 1e-9
    assert found.draws == 1 or expected_unique(p, found.draws - 1) < kept
    assert found.certain == 0
    assert found.eps == pytest.approx(epsilon(found.draws, SCORES.sum(), 50, 0.01, 1.5))


@pytest.mark.parametrize("kept", [1, 3, 6])
def test_hybrid_tries_every_number_of_certain_channels(kept):
    found = hybrid_draws(SCORES, ALL, kept, sums=2, delta=0.1, constant=1.5)
    ordered = np.sort(SCORES)[::-1]
    tries = []
    for certain in range(kept):
        rest = ordered[certain:]
        draws = next(
            m for m in range(1, 10_000) if expected_unique(probabilities(rest), m)
            >= kept - certain - 1e-9
        )  # fmt: skip
        tries.append((epsilon(draws, rest.sum(), 2, 0.1, 1.5), certain, draws))
    best = min(tries)
    assert (found.eps, found.certain, found.draws) == pytest.approx(best)
    drawn = random_draws(SCORES, ALL, kept, sums=2, delta=0.1, constant=1.5)
    assert found.eps <= drawn.eps


def test_one_dominant_channel_is_kept_for_certain():
    scores = np.array([1.0, 0.01, 0.01, 0.01, 0.01, 0.01])
    drawn = random_draws(scores, np.ones(6, dtype=bool), 4, sums=2, delta=0.1, constant=1.0)
    mixed = hybrid_draws(scores, np.ones(6, dtype=bool), 4, sums=2, delta=0.1, constant=1.0)
    assert mixed.certain >= 1
    assert mixed.eps < drawn.eps


@pytest.mark.parametrize("draws", [random_draws, hybrid_draws])
def test_channels_of_score_0_are_never_drawn_and_count_as_removed(draws):
    scores = floored(np.array([0.9, 0.0, 0.4, 0.0, 0.2]))
    drawable = np.array([1, 0, 1, 0, 1], dtype=bool)
    found = draws(scores, drawable, 2, sums=10, delta=0.1, constant=2.0)
    alone = draws(scores[drawable], np.ones(3, dtype=bool), 2, sums=10, delta=0.1, constant=2.0)
    assert found.draws == alone.draws
    assert found.eps == pytest.approx(alone.eps + 2.0 * (0.2 + 0.2))
    # All three that can be drawn stay, and one of the others: the second of these goes.
    for kept, eps in ((3, 0.8), (4, 0.4), (5, 0.0)):
        found = draws(scores, drawable, kept, sums=10, delta=0.1, constant=2.0)
        assert (found.draws, found.certain) == (0, kept)
        assert found.eps == pytest.approx(eps)


def test_a_constant_of_0_is_that_of_sums_that_are_all_0():
    assert random_draws(SCORES, ALL, 3, sums=10, delta=0.1, constant=0.0).eps == 0
    assert hybrid_draws(SCORES, ALL, 3, sums=10, delta=0.1, constant=0.0).eps == 0


def test_errors_go_through_the_layers_as_in_the_recursion():
    assert error_through([(3.0, 0.0), (2.0, 0.01), (5.0, 0.0)]) == pytest.approx(0.1)
    first = 2 * 0.01
    assert error_through([(2.0, 0.01), (5.0, 0.02)]) == pytest.approx(
        5 * (first + (1 + first) * 0.02)
    )
    assert error_through([(math.inf, 0.0), (1.0, 0.5)]) == 0.5
    assert error_through([(math.inf, 0.1)]) == math.inf
    assert error_through([(2.0, 0.6), (1.0, 0.0)]) == math.inf


def test_the_papers_shares_give_at_most_the_wanted_error():
    rng = np.random.default_rng(0)
    for _ in range(200):
        kappas = 1 + rng.exponential(5, size=rng.integers(1, 6))
        eps = rng.uniform(0.01, 1)
        after = np.cumprod(kappas[::-1])[::-1]
        shares = eps / (2 * len(kappas) * after)
        assert error_through(zip(kappas, shares, strict=True)) <= eps
