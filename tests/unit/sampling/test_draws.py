"""Draws with replacement: their marginals, their number, and unbiased weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from prunella.core.errors import InputError
from prunella.sampling import (
    draw_multinomial,
    draw_systematic,
    draw_unique,
    inclusion,
    probabilities,
    reweighting,
)

TRIALS = 20_000
SCORES = hnp.arrays(
    np.float64, st.integers(2, 30), elements=st.floats(0, 1, allow_subnormal=False)
).filter(lambda a: (a > 0).sum() > 1)
UNEVEN = probabilities([0.9, 0.02, 0.0, 0.3, 0.3, 0.05, 0.6, 0.001])


def rng(seed=0):
    return np.random.default_rng(seed)


def drawn_one_by_one(chances, unique, generator):
    """The rule of `draw_unique` in the words of its docstring."""
    counts = np.zeros(len(chances))
    while True:
        channel = generator.choice(len(chances), p=chances)
        if counts[channel] == 0 and (counts > 0).sum() == unique:
            return counts
        counts[channel] += 1


def standard_errors(samples, expected):
    """How many standard errors the means of the rows lie from what is expected."""
    error = samples.std(0, ddof=1) / math.sqrt(len(samples))
    return np.abs(samples.mean(0) - expected) / np.where(error > 0, error, 1e-9)


# -- independent and systematic draws ------------------------------------------------------------


@pytest.mark.parametrize("draw", [draw_multinomial, draw_systematic])
@pytest.mark.parametrize("draws", [1, 3, 40])
def test_expected_counts(draw, draws):
    many = np.tile(UNEVEN, (TRIALS, 1))
    counts = draw(many, draws, generator=rng())
    assert counts.dtype == np.int64
    assert np.all(counts.sum(1) == draws)
    assert np.all(counts[:, 2] == 0)
    assert np.all(standard_errors(counts, draws * UNEVEN) < 4.5)


def test_independent_draws_have_the_variance_of_a_multinomial():
    counts = draw_multinomial(np.tile(UNEVEN, (TRIALS, 1)), 40, generator=rng())
    expected = 40 * UNEVEN * (1 - UNEVEN)
    assert np.allclose(counts.var(0), expected, rtol=0.1, atol=0.01)


@given(scores=SCORES, draws=st.integers(1, 50), seed=st.integers(0, 10**6))
def test_systematic_counts_are_the_whole_numbers_next_to_the_expectation(scores, draws, seed):
    p = probabilities(scores)
    counts = draw_systematic(p, draws, generator=rng(seed))
    assert counts.sum() == draws
    assert np.all(counts >= np.floor(draws * p - 1e-9))
    assert np.all(counts <= np.ceil(draws * p + 1e-9))
    assert np.all(counts[p == 0] == 0)


@pytest.mark.parametrize("draw", [draw_multinomial, draw_systematic])
def test_a_batch_of_weights(draw):
    """As particle filters need it: each row has its own weights and its own randomness."""
    batch = np.stack([UNEVEN, UNEVEN[::-1], np.eye(8)[5]])
    counts = draw(batch, 1000, generator=rng(3))
    assert counts.shape == (3, 8)
    assert np.all(counts.sum(1) == 1000)
    assert counts[2].tolist() == [0, 0, 0, 0, 0, 1000, 0, 0]
    assert abs(counts[0, 0] - counts[1, 7]) < 200
    weights = reweighting(counts, batch)
    assert weights.shape == (3, 8)
    np.testing.assert_allclose(weights[0], np.where(UNEVEN > 0, counts[0] / (1000 * np.where(
        UNEVEN > 0, UNEVEN, 1)), 0))  # fmt: skip
    same = draw(np.stack([UNEVEN] * 2), 1000, generator=rng(3))
    assert draw is draw_systematic or not np.array_equal(same[0], same[1])


def test_the_generator_is_all_the_randomness():
    for draw in (draw_multinomial, draw_systematic, draw_unique):
        a, b, c = (draw(UNEVEN, 4, generator=rng(seed)) for seed in (1, 1, 2))
        assert np.array_equal(a, b)
        assert draw is draw_systematic or not np.array_equal(a, c)


# -- until one channel too many ------------------------------------------------------------------


@pytest.mark.parametrize("unique", [1, 2, 5])
def test_the_rule_is_the_one_of_single_draws(unique):
    """Same distribution of counts as drawing one by one: means and the number of draws."""
    p = probabilities([0.5, 0.1, 0.3, 0.02, 0.2, 0.15])
    first, second = rng(1), rng(2)
    fast = np.array([draw_unique(p, unique, generator=first) for _ in range(4000)])
    slow = np.array([drawn_one_by_one(p, unique, second) for _ in range(4000)])
    assert np.all((fast > 0).sum(1) == unique)
    for of in (lambda c: c, lambda c: c > 0, lambda c: c.sum(1)[:, None], lambda c: c**2):
        a, b = of(fast).astype(float), of(slow).astype(float)
        spread = np.sqrt((a.var(0) + b.var(0)) / 4000)
        assert np.all(np.abs(a.mean(0) - b.mean(0)) < 4.5 * spread + 1e-12)


@pytest.mark.parametrize("unique", [1, 3, 6])
def test_weights_are_unbiased(unique):
    p = probabilities([0.9, 0.2, 0.0, 0.3, 0.3, 0.5, 0.6, 0.1])
    generator = rng(5)
    counts = np.array([draw_unique(p, unique, generator=generator) for _ in range(TRIALS)])
    weights = reweighting(counts, np.tile(p, (TRIALS, 1)))
    assert np.all((weights > 0).sum(1) == unique)
    assert np.all(standard_errors(weights[:, p > 0], 1.0) < 4.5)


def test_stopping_at_the_wanted_number_would_be_biased():
    """Why the last draw goes: with it, rare channels are weighted too much. The check can fail."""
    p = probabilities([0.6, 0.3, 0.1])
    generator = rng(7)

    def with_the_last():
        counts = np.zeros(3)
        while (counts > 0).sum() < 2:
            counts[generator.choice(3, p=p)] += 1
        return counts

    weights = reweighting(np.array([with_the_last() for _ in range(5000)]), np.tile(p, (5000, 1)))
    assert standard_errors(weights, 1.0).max() > 10


def test_channels_of_vanishing_probability():
    """As many draws as hold them would take longer than anyone can wait."""
    p = probabilities([1.0, 0.5, 1e-40, 1e-300])
    counts = draw_unique(p, 3, generator=rng())
    assert (counts > 0).tolist() == [True, True, True, False]
    weights = reweighting(counts, p)
    assert np.isfinite(weights).all()
    assert weights[:2] == pytest.approx([1, 1], rel=1e-6)


# -- probabilities of staying --------------------------------------------------------------------


@given(scores=SCORES, data=st.data())
def test_inclusion_is_proportional_up_to_one(scores, data):
    support = int((scores > 0).sum())
    count = data.draw(st.integers(1, support))
    chances = inclusion(scores, count)
    assert chances.sum() == pytest.approx(count, rel=1e-9)
    assert np.all((chances >= 0) & (chances <= 1))
    assert np.all(chances[scores == 0] == 0)
    below = (chances < 1) & (scores > 0)
    if below.any():
        ratio = chances[below] / scores[below]
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-9)
        assert np.all(ratio[0] * scores[chances == 1] >= 1 - 1e-9)


# -- refusals ------------------------------------------------------------------------------------


def test_errors_say_what_is_wrong():
    for draw in (draw_multinomial, draw_systematic):
        with pytest.raises(InputError, match=r"shape \(1, 1, 2\); expected \(K,\), or \(B, K\)"):
            draw([[[0.5, 0.5]]], 3, generator=rng())
        with pytest.raises(InputError, match=r"sums to 0\.9 to 1; expected 1"):
            draw([[0.5, 0.5], [0.5, 0.4]], 3, generator=rng())
        with pytest.raises(InputError, match="negative, NaN"):
            draw([1.5, -0.5], 3, generator=rng())
        with pytest.raises(InputError, match="draws is 0"):
            draw([1.0], 0, generator=rng())
    for unique in (0, 3):
        with pytest.raises(InputError, match=rf"unique is {unique}; .*fewer than 3"):
            draw_unique([0.5, 0.25, 0.25, 0.0], unique, generator=rng())
    with pytest.raises(InputError, match=r"shape \(2,\) and probabilities \(3,\)"):
        reweighting([1, 1], [0.5, 0.25, 0.25])
    for counts in ([0, 0, 0], [1, 0, 1]):
        with pytest.raises(InputError, match="a row has no draws, or a channel of probability 0"):
            reweighting(counts, [0.5, 0.5, 0.0])
    for count in (0, 3):
        with pytest.raises(InputError, match=f"count is {count}; expected 1 to 2"):
            inclusion([0.5, 0.0, 0.2], count)


@settings(max_examples=20)
@given(scores=SCORES, seed=st.integers(0, 100), data=st.data())
def test_any_scores_can_be_drawn_from(scores, seed, data):
    p = probabilities(scores)
    unique = data.draw(st.integers(1, int((p > 0).sum()) - 1))
    counts = draw_unique(p, unique, generator=rng(seed))
    assert (counts > 0).sum() == unique
    assert np.all(counts == np.floor(counts))
    assert np.all(counts[p == 0] == 0)
