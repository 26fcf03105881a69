"""Sampling channels: the promised relative error over 10,000 repetitions of the draw."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from prunella.sampling import (
    draw_multinomial,
    draw_systematic,
    draw_unique,
    epsilon,
    expected_unique,
    inclusion,
    probabilities,
    reweighting,
    sample_complexity,
    split,
)

REPEATS = 10_000
Array = NDArray[np.float64]


def spike(constant: float) -> tuple[Array, Array]:
    """The worst case of the proof: one channel makes up the whole sum, and is drawn as rarely
    as the assumption allows."""
    contributions = np.zeros((1, 10))
    contributions[0, 3] = 2.5
    scores = np.ones(10)
    scores[3] = 1 / constant
    return contributions, scores


def dense() -> tuple[Array, Array]:
    """60 sums over 25 channels; the scores are their largest shares."""
    contributions = np.random.default_rng(0).gamma(0.3, size=(60, 25))
    return contributions, (contributions / contributions.sum(1, keepdims=True)).max(0)


def underestimated(constant: float) -> tuple[Array, Array]:
    """The same sums, seen by scores from other samples that are too small by up to `constant`."""
    contributions, scores = dense()
    shrink = np.random.default_rng(1).uniform(1 / constant, 1, size=scores.shape)
    shrink[0] = 1 / constant
    return contributions, scores * shrink


CASES = {
    "spike": (spike(1.0), 1.0),
    "rare spike": (spike(5.0), 5.0),
    "dense": (dense(), 1.0),
    "underestimated": (underestimated(3.0), 3.0),
}


def failures(contributions: Array, scores: Array, draws: int, eps: float) -> NDArray[np.bool_]:
    """For each repetition whether any of the sums is off by more than eps, relatively."""
    p = probabilities(scores)
    counts = np.random.default_rng(draws).multinomial(draws, p / p.sum(), size=REPEATS)
    estimates = (counts / (draws * p)) @ contributions.T
    sums = contributions.sum(1)
    return np.asarray((np.abs(estimates - sums) > eps * sums * (1 + 1e-12)).any(1))


def too_many(failed: NDArray[np.bool_], delta: float) -> bool:
    return bool(failed.mean() > delta + 3 * math.sqrt(delta * (1 - delta) / failed.size))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("eps", [0.25, 1.0, 3.0])
@pytest.mark.parametrize("delta", [0.01, 0.2])
def test_error_is_kept_with_the_promised_probability(name: str, eps: float, delta: float) -> None:
    (contributions, scores), constant = CASES[name]
    shares = contributions / contributions.sum(1, keepdims=True)
    assert np.all(shares <= constant * scores * (1 + 1e-12))  # the theorem applies
    draws = math.ceil(sample_complexity(eps, scores.sum(), len(contributions), delta, constant))
    assert not too_many(failures(contributions, scores, draws, eps), delta)
    promised = epsilon(draws, scores.sum(), len(contributions), delta, constant)
    assert promised <= eps
    assert not too_many(failures(contributions, scores, draws, promised), delta)


@pytest.mark.parametrize("name", ["spike", "rare spike"])
def test_a_third_of_the_draws_is_not_enough(name: str) -> None:
    """The check can fail, and the bound is within a small factor of the truth."""
    (contributions, scores), constant = CASES[name]
    draws = math.ceil(sample_complexity(0.25, scores.sum(), 1, 0.01, constant) / 3)
    assert too_many(failures(contributions, scores, draws, 0.25), 0.01)


def test_leaving_out_the_constant_breaks_the_promise() -> None:
    (contributions, scores), _ = CASES["rare spike"]
    draws = math.ceil(sample_complexity(0.25, scores.sum(), 1, 0.2))
    assert too_many(failures(contributions, scores, draws, 0.25), 0.2)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("draws", [1, 7, 100])
def test_estimates_are_unbiased_and_unique_channels_as_expected(name: str, draws: int) -> None:
    (contributions, scores), _ = CASES[name]
    p = probabilities(scores)
    counts = np.random.default_rng(draws).multinomial(draws, p / p.sum(), size=REPEATS)
    estimates = (counts / (draws * p)) @ contributions.T
    error = estimates.std(0, ddof=1) / math.sqrt(REPEATS)
    assert np.all(np.abs(estimates.mean(0) - contributions.sum(1)) <= 4.5 * error + 1e-9)
    unique = (counts > 0).sum(1)
    gap = abs(unique.mean() - expected_unique(p, draws))
    assert gap <= 4 * unique.std(ddof=1) / math.sqrt(REPEATS) + 1e-9


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("delta", [0.01, 0.2])
def test_draws_until_one_channel_too_many_keep_the_error_as_well(name: str, delta: float) -> None:
    """Theorem 1a: whatever ends the draws, few of those that went on for m and more are off."""
    (contributions, scores), constant = CASES[name]
    sums = contributions.sum(1)
    p = probabilities(scores)
    for unique in (len(p) // 2, len(p) - 1):
        counts = until_one_too_many(p, unique)
        made = counts.sum(1)
        errors = np.abs(reweighting(counts, np.tile(p, (REPEATS, 1))) @ contributions.T - sums)
        # The promise is for one m that is chosen beforehand; here some that matter.
        for least in np.quantile(made, [0.0, 0.25, 0.5]):
            eps = epsilon(least, scores.sum(), len(sums), delta, constant)
            off = (errors > eps * sums * (1 + 1e-12)).any(1)
            assert not too_many(off & (made >= least), delta)


def test_a_quarter_of_that_error_is_broken() -> None:
    """The check can fail, and the bound is within a small factor of the truth."""
    (contributions, scores), constant = CASES["rare spike"]
    p = probabilities(scores)
    counts = until_one_too_many(p, len(p) - 1)
    made = counts.sum(1)
    least = np.quantile(made, 0.25)
    sums = contributions.sum(1)
    errors = np.abs(reweighting(counts, np.tile(p, (REPEATS, 1))) @ contributions.T - sums)
    eps = epsilon(least, scores.sum(), len(sums), 0.01, constant) / 4
    assert too_many((errors > eps * sums).any(1) & (made >= least), 0.01)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_draws_until_one_channel_too_many_are_unbiased(name: str, share: float) -> None:
    (contributions, scores), _ = CASES[name]
    p = probabilities(scores)
    counts = until_one_too_many(p, max(1, int(share * len(p))))
    estimates = reweighting(counts, np.tile(p, (REPEATS, 1))) @ contributions.T
    error = estimates.std(0, ddof=1) / math.sqrt(REPEATS)
    assert np.all(np.abs(estimates.mean(0) - contributions.sum(1)) <= 4.5 * error + 1e-9)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("count", [1, 5])
def test_systematic_draws_are_unbiased_and_vary_less(name: str, count: int) -> None:
    (contributions, scores), _ = CASES[name]
    chances = inclusion(scores, count)
    many = np.tile(chances / count, (REPEATS, 1))
    drawn = draw_systematic(many, count, generator=np.random.default_rng(1))
    assert np.all((drawn > 0).sum(1) == count)
    estimates = (drawn / chances) @ contributions.T
    error = estimates.std(0, ddof=1) / math.sqrt(REPEATS)
    assert np.all(np.abs(estimates.mean(0) - contributions.sum(1)) <= 4.5 * error + 1e-9)
    independent = draw_multinomial(many, count, generator=np.random.default_rng(2))
    apart = (independent / chances) @ contributions.T
    assert estimates.var(0).mean() <= apart.var(0).mean() * (1 + 1e-2)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("draws", [10, 200, 2000])
@pytest.mark.parametrize("delta", [0.01, 0.2])
def test_hybrid_draws_keep_their_error(name: str, draws: int, delta: float) -> None:
    """The corollary on certain channels: the bound of the rest, relative to the whole sum."""
    (contributions, scores), constant = CASES[name]
    found = split(scores, draws, len(contributions), delta, constant)
    rest = np.argsort(-scores, kind="stable")[found.certain :]
    if found.eps == 0:
        assert len(rest) == 0
        return
    p = probabilities(scores[rest])
    made = draws - found.certain
    counts = draw_multinomial(np.tile(p, (REPEATS, 1)), made, generator=np.random.default_rng(3))
    estimates = (counts / (made * p)) @ contributions[:, rest].T
    off = np.abs(estimates - contributions[:, rest].sum(1)) > found.eps * contributions.sum(1)
    assert not too_many(off.any(1), delta)


def until_one_too_many(p: Array, unique: int) -> Array:
    generator = np.random.default_rng(unique)
    return np.array([draw_unique(p, unique, generator=generator) for _ in range(REPEATS)])


def test_relative_errors_of_layers_add_up_as_the_theory_page_says() -> None:
    """Worst signs on a three-layer ReLU network with biases, in place of random draws."""
    rng = np.random.default_rng(5)
    weights = [rng.normal(size=(6, 6)) / 2 for _ in range(3)]
    biases = [rng.normal(size=6) for _ in range(3)]
    x = np.abs(rng.normal(size=6))
    eps, worst = 0.5, 0.0
    kappas, a = [], x
    for w, b in zip(weights, biases, strict=True):
        kappas.append(max(1.0, float((np.abs(w) @ a / np.abs(w @ a + b)).max())))
        z = w @ a + b
        a = np.maximum(z, 0)
    layer_eps = [eps / (2 * 3 * math.prod(kappas[i:])) for i in range(3)]
    for _ in range(3000):
        a = x
        for w, b, e in zip(weights, biases, layer_eps, strict=True):
            # each of the two sums of a row is off by its own factor, as the guarantee allows
            up = 1 + e * rng.choice([-1, 1], size=6)
            down = 1 + e * rng.choice([-1, 1], size=6)
            out = up * (np.maximum(w, 0) @ a) - down * (np.maximum(-w, 0) @ a) + b
            a = np.maximum(out, 0)
        worst = max(worst, float(np.abs((out - z) / z).max()))
    assert 0 < worst <= eps
