"""Every bound against repeated draws from fixed populations: never wrong too often, never useless.

A bound is rejected if it was wrong in more than a share delta of the draws by over three standard
errors of that share. The last tests show that this check does reject bounds that are invalid.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from prunella.bounds import (
    betting_p_value,
    betting_upper,
    clopper_pearson_difference_upper,
    clopper_pearson_lower,
    clopper_pearson_p_value,
    clopper_pearson_upper,
    conformal_rank,
    empirical_bernstein_upper,
    hoeffding_bentkus_p_value,
    hoeffding_bentkus_upper,
    hoeffding_upper,
    paired_difference_p_value,
    paired_difference_upper,
    tolerance_limit,
)

DELTAS = [0.01, 0.1]
BinomialBound = Callable[[int, int, float], float]
PairedBound = Callable[[int, int, int, float], float]


def wrong_too_often(wrong: NDArray[np.bool_], delta: float) -> bool:
    draws = wrong.size
    return bool(wrong.sum() > draws * delta + 3 * math.sqrt(draws * delta * (1 - delta)))


def binomial_bounds(
    bound: BinomialBound, p: float, n: int, delta: float, draws: int = 20_000
) -> NDArray[np.float64]:
    counts = np.random.default_rng(n).binomial(n, p, size=draws)
    unique, where = np.unique(counts, return_inverse=True)
    return np.array([bound(int(k), n, delta) for k in unique])[where]


def paired_bounds(
    bound: PairedBound, up: float, down: float, n: int, delta: float, draws: int = 1000
) -> NDArray[np.float64]:
    rng = np.random.default_rng(n)
    counts = rng.multinomial(n, [up, down, 1 - up - down], size=draws)[:, :2]
    unique, where = np.unique(counts, axis=0, return_inverse=True)
    return np.array([bound(int(a), int(b), n, delta) for a, b in unique])[where.reshape(-1)]


@pytest.mark.parametrize("delta", DELTAS)
@pytest.mark.parametrize("n", [20, 200, 2000, 5000])
@pytest.mark.parametrize("p", [0.002, 0.02, 0.5, 0.98])
def test_clopper_pearson(p: float, n: int, delta: float) -> None:
    assert not wrong_too_often(binomial_bounds(clopper_pearson_upper, p, n, delta) < p, delta)
    assert not wrong_too_often(binomial_bounds(clopper_pearson_lower, p, n, delta) > p, delta)


# share of samples that only the original gets right, and that only the small network does
PAIRS = [(0.002, 0.0), (0.0, 0.002), (0.0115, 0.0085), (0.04, 0.02), (0.02, 0.04), (0.3, 0.15)]
PAIRS_AT_THE_EDGES = [(0.02, 0.0), (0.25, 0.25), (0.4, 0.3), (1.0, 0.0), (0.0, 1.0), (0.5, 0.5)]


@pytest.mark.parametrize("delta", DELTAS)
@pytest.mark.parametrize(
    ("up", "down", "n"),
    [(up, down, n) for up, down in PAIRS for n in (20, 2000)]
    + [(up, down, n) for up, down in PAIRS_AT_THE_EDGES for n in (20, 200)]
    + [(0.0115, 0.0085, 5000)],
)
@pytest.mark.parametrize("bound", [paired_difference_upper, clopper_pearson_difference_upper])
def test_paired_difference(
    bound: PairedBound, up: float, down: float, n: int, delta: float
) -> None:
    bounds = paired_bounds(bound, up, down, n, delta)
    assert not wrong_too_often(bounds < up - down - 1e-12, delta)


class Population:
    """Values in [0, 1] with a known law."""

    def __init__(
        self,
        mean: float,
        draw: Callable[[np.random.Generator, tuple[int, int]], NDArray[np.float64]],
        above: Callable[[float], float],
    ) -> None:
        self.mean, self.draw, self.above = mean, draw, above


def two_point(p: float, low: float, high: float) -> Population:
    return Population(
        mean=low + p * (high - low),
        draw=lambda rng, shape: np.where(rng.random(shape) < p, high, low),
        above=lambda limit: 1.0 if limit < low else (p if limit < high else 0.0),
    )


def beta(a: float, b: float) -> Population:
    law = stats.beta(a, b)
    return Population(
        a / (a + b), lambda rng, shape: rng.beta(a, b, shape), lambda limit: float(law.sf(limit))
    )


def steps() -> Population:
    """Ties: multiples of 1/8, most of them 0."""
    law = stats.binom(8, 0.06)
    return Population(
        mean=0.06,
        draw=lambda rng, shape: rng.binomial(8, 0.06, shape) / 8,
        above=lambda limit: float(law.sf(math.floor(limit * 8 + 1e-9))),
    )


POPULATIONS = {
    "rare": two_point(0.002, 0.0, 1.0),
    "two per cent": two_point(0.02, 0.0, 1.0),
    "two-point": two_point(0.5, 0.3, 0.6),
    "at the allowed share": two_point(0.05, 0.2, 0.9),
    "skewed": beta(0.05, 2.0),
    "skewed to 1": beta(2.0, 0.05),
    "ties": steps(),
}


@pytest.mark.parametrize(
    ("n", "name"), [(n, name) for n in (20, 300) for name in POPULATIONS] + [(5000, "skewed")]
)
def test_hoeffding(name: str, n: int) -> None:
    population = POPULATIONS[name]
    means = population.draw(np.random.default_rng(n), (1000, n)).mean(axis=1)
    for delta in DELTAS:
        bounds = np.array([hoeffding_upper(mean, n, delta, 0.0, 1.0) for mean in means])
        assert not wrong_too_often(bounds < population.mean, delta)


@pytest.mark.parametrize(
    ("n", "delta", "name"),
    [(n, 0.1, name) for n in (20, 300) for name in POPULATIONS]
    + [(300, 0.01, name) for name in ("rare", "skewed", "ties")]
    + [(5000, 0.1, "two per cent")],
)
def test_betting(n: int, delta: float, name: str) -> None:
    population = POPULATIONS[name]
    samples = population.draw(np.random.default_rng(n), (1000, n))
    bounds = np.array([betting_upper(values, delta, 0.0, 1.0) for values in samples])
    assert not wrong_too_often(bounds < population.mean, delta)


@pytest.mark.parametrize("n", [20, 300, 5000])
@pytest.mark.parametrize("name", POPULATIONS)
def test_bounds_from_the_mean_and_the_variance(name: str, n: int) -> None:
    population = POPULATIONS[name]
    samples = population.draw(np.random.default_rng(n), (1000, n))
    means, where = np.unique(samples.mean(axis=1), return_inverse=True)
    for delta in DELTAS:
        mixed = np.array([hoeffding_bentkus_upper(mean, n, delta, 0.0, 1.0) for mean in means])
        assert not wrong_too_often(mixed[where] < population.mean, delta)
        spread = np.array([empirical_bernstein_upper(values, delta, 0, 1) for values in samples])
        assert not wrong_too_often(spread < population.mean, delta)


@pytest.mark.parametrize("n", [20, 300, 5000])
@pytest.mark.parametrize("name", POPULATIONS)
def test_p_values_of_a_mean(name: str, n: int) -> None:
    """At the true mean itself, the hardest level: there no bisection is needed, so many draws."""
    population = POPULATIONS[name]
    samples = population.draw(np.random.default_rng(n + 1), (1000, n))
    means, where = np.unique(samples.mean(axis=1), return_inverse=True)
    mixed = np.array([hoeffding_bentkus_p_value(mean, n, population.mean) for mean in means])
    bets = np.array([betting_p_value(values, population.mean) for values in samples])
    for delta in (0.01, 0.1, 0.4):
        assert not wrong_too_often(mixed[where] <= delta, delta)
        assert not wrong_too_often(bets <= delta, delta)


@pytest.mark.parametrize("n", [20, 200, 5000])
@pytest.mark.parametrize("p", [0.002, 0.02, 0.5, 0.98])
def test_p_values_of_a_probability(p: float, n: int) -> None:
    found = binomial_bounds(lambda k, n, _: clopper_pearson_p_value(k, n, p), p, n, 0.5)
    for delta in (0.01, 0.1, 0.4):
        assert not wrong_too_often(found <= delta, delta)


@pytest.mark.parametrize(
    ("up", "down", "n"),
    [(up, down, n) for up, down in PAIRS for n in (20, 300)]
    + [(0.25, 0.25, 200), (0.4, 0.3, 100), (0.0, 1.0, 20), (0.0115, 0.0085, 5000)],
)
def test_p_values_of_a_paired_difference(up: float, down: float, n: int) -> None:
    level = max(up - down - 1e-12, -1.0)  # the hypothesis is a mean above the level
    found = paired_bounds(
        lambda a, b, n, _: paired_difference_p_value(a, b, n, level), up, down, n, 0.5
    )
    for delta in (0.01, 0.1, 0.4):
        assert not wrong_too_often(found <= delta, delta)


@pytest.mark.parametrize(
    ("n", "alpha", "name"),
    [(n, a, name) for n, a in ((20, 0.3), (100, 0.05), (700, 0.05)) for name in POPULATIONS]
    + [(5000, 0.02, name) for name in ("rare", "skewed", "ties")],
)
def test_tolerance_limit(name: str, n: int, alpha: float) -> None:
    population = POPULATIONS[name]
    samples = population.draw(np.random.default_rng(n), (1000, n))
    for delta in DELTAS:
        limits = [tolerance_limit(values, alpha, delta) for values in samples]
        shares = np.array([population.above(limit) for limit in limits if limit is not None])
        assert len(shares) == 1000
        assert not wrong_too_often(shares > alpha + 1e-12, delta)


@pytest.mark.parametrize(("n", "alpha"), [(19, 0.05), (100, 0.1), (1000, 0.02)])
@pytest.mark.parametrize("name", POPULATIONS)
def test_conformal_limit_on_average(name: str, n: int, alpha: float) -> None:
    population = POPULATIONS[name]
    rank = conformal_rank(n, alpha)
    assert rank is not None
    samples = np.partition(population.draw(np.random.default_rng(n), (3000, n)), rank - 1, axis=1)
    above = np.array([population.above(limit) for limit in samples[:, rank - 1]])
    error = above.std(ddof=1) / math.sqrt(above.size)
    assert above.mean() <= alpha + 3 * error + 1e-12
    if name == "skewed":  # a continuous law: not too careful either
        assert above.mean() >= alpha - 1 / (n + 1) - 3 * error


def test_bounds_are_tight_enough_to_be_useful() -> None:
    delta, n = 0.01, 2000
    assert binomial_bounds(clopper_pearson_upper, 0.02, n, delta).mean() <= 3 * 0.02
    assert paired_bounds(paired_difference_upper, 0.04, 0.02, n, delta).mean() <= 3 * 0.02
    # sharper than asked: less than twice the true risk
    assert binomial_bounds(clopper_pearson_upper, 0.02, n, delta).mean() <= 1.5 * 0.02
    assert paired_bounds(paired_difference_upper, 0.04, 0.02, n, delta).mean() <= 1.8 * 0.02
    assert binomial_bounds(clopper_pearson_upper, 0.01, 5000, delta).mean() <= 0.0145
    assert clopper_pearson_upper(50, 5000, delta) <= 0.0145


def test_order_of_the_bounds_of_a_mean() -> None:
    """Rare losses: each bound that knows more is narrower; the exact one knows that they are 0, 1.

    Betting is behind Hoeffding and Bentkus there, and ahead of it where losses vary little.
    """
    rare = (np.random.default_rng(0).random((100, 5000)) < 0.01) * 1.0
    little = POPULATIONS["two-point"].draw(np.random.default_rng(1), (100, 300))
    widths = {}
    for name, samples in (("rare", rare), ("little", little)):
        n = samples.shape[1]
        widths[name] = [
            np.mean([hoeffding_bentkus_upper(v.mean(), n, 0.01, 0, 1) for v in samples]),
            np.mean([betting_upper(v, 0.01, 0, 1) for v in samples]),
            np.mean([empirical_bernstein_upper(v, 0.01, 0, 1) for v in samples]),
            np.mean([hoeffding_upper(v.mean(), n, 0.01, 0, 1) for v in samples]),
        ]
    mixed, betting, spread, plain = widths["rare"]
    assert binomial_bounds(clopper_pearson_upper, 0.01, 5000, 0.01).mean() < mixed
    assert mixed < betting < spread < plain
    mixed, betting, spread, plain = widths["little"]
    assert betting < spread < plain
    assert betting < mixed < plain


def test_paired_bound_is_three_times_as_sharp_as_hoeffding() -> None:
    def by_hoeffding(plus: int, minus: int, n: int, delta: float) -> float:
        return hoeffding_upper((plus - minus) / n, n, delta, -1.0, 1.0)

    arguments = (0.0115, 0.0085, 5000, 0.01)
    ours = paired_bounds(paired_difference_upper, *arguments).mean()
    assert 3 * ours <= paired_bounds(by_hoeffding, *arguments).mean()


@pytest.mark.parametrize(
    ("up", "down", "n"), [(0.0115, 0.0085, 5000), (0.04, 0.02, 2000), (0.02, 0.0, 2000)]
)
def test_paired_default_is_the_sharpest_of_the_valid_ones(up: float, down: float, n: int) -> None:
    rng = np.random.default_rng(n)
    widths = []
    for _ in range(150):
        values = rng.choice([1.0, -1.0, 0.0], p=[up, down, 1 - up - down], size=n)
        counts = int((values > 0).sum()), int((values < 0).sum())
        widths.append(
            (
                paired_difference_upper(*counts, n, 0.01),
                clopper_pearson_difference_upper(*counts, n, 0.01),
                betting_upper(values, 0.01, -1, 1),
            )
        )
    ours, simple, betting = np.mean(widths, axis=0)
    assert ours < simple
    assert ours < betting


def test_tolerance_limit_is_not_far_out() -> None:
    population = POPULATIONS["skewed"]
    samples = population.draw(np.random.default_rng(0), (300, 2000))
    limits = [tolerance_limit(values, 0.05, 0.01) for values in samples]
    shares = [population.above(limit) for limit in limits if limit is not None]
    assert 0.03 < np.mean(shares) < 0.05


# The check itself must be able to fail: bounds that look reasonable and are not valid.


def normal_upper(successes: int, n: int, delta: float) -> float:
    share = successes / n
    return share + stats.norm.ppf(1 - delta) * math.sqrt(share * (1 - share) / n)


def normal_paired_upper(plus: int, minus: int, n: int, delta: float) -> float:
    mean = (plus - minus) / n
    variance = (plus + minus) / n - mean**2
    return mean + stats.norm.ppf(1 - delta) * math.sqrt(max(variance, 0.0) / n)


@pytest.mark.parametrize("delta", DELTAS)
def test_check_finds_the_normal_approximation(delta: float) -> None:
    assert wrong_too_often(binomial_bounds(normal_upper, 0.002, 200, delta) < 0.002, delta)
    wrong = paired_bounds(normal_paired_upper, 0.002, 0.0, 300, delta) < 0.002
    assert wrong_too_often(wrong, delta)


def test_check_finds_a_bound_at_five_times_the_error() -> None:
    def too_bold(successes: int, n: int, delta: float) -> float:
        return clopper_pearson_upper(successes, n, 5 * delta)

    def too_bold_pair(plus: int, minus: int, n: int, delta: float) -> float:
        return paired_difference_upper(plus, minus, n, 5 * delta)

    assert wrong_too_often(binomial_bounds(too_bold, 0.02, 2000, 0.01) < 0.02, 0.01)
    # 5 x 0.8 of delta is the exact test of the pair: enough to be found
    assert wrong_too_often(paired_bounds(too_bold_pair, 0.25, 0.2, 2000, 0.01) < 0.05, 0.01)


def test_check_finds_the_plain_sample_quantile_and_half_a_hoeffding() -> None:
    population = POPULATIONS["skewed"]
    samples = population.draw(np.random.default_rng(0), (1000, 300))
    limits = np.quantile(samples, 0.95, axis=1)
    assert wrong_too_often(np.array([population.above(x) for x in limits]) > 0.05, 0.1)
    coin = POPULATIONS["two per cent"].draw(np.random.default_rng(1), (1000, 300)).mean(axis=1)
    bounds = np.array([hoeffding_upper(mean, 300, 0.1, 0.0, 1.0) for mean in coin])
    assert wrong_too_often(coin + (bounds - coin) / 8 < 0.02, 0.1)


def test_check_finds_bentkus_without_its_factor_and_a_betting_p_value_too_small() -> None:
    counts = np.random.default_rng(3).binomial(40, 0.02, size=20_000)
    # a factor e less, and the sum rounded down: values between 0 and 1 then count for nothing
    table = stats.binom.cdf(np.arange(41) - 1, 40, 0.02)
    assert wrong_too_often(table[counts] <= 0.1, 0.1)
    coins = (np.random.default_rng(4).random((1000, 300)) < 0.5) * 1.0
    bets = np.array([betting_p_value(values, 0.5) for values in coins])
    assert wrong_too_often(bets**2 <= 0.01, 0.01)


def test_check_finds_bets_on_a_sorted_sample() -> None:
    samples = np.sort(POPULATIONS["two-point"].draw(np.random.default_rng(2), (1000, 100)), axis=1)
    bounds = np.array([betting_upper(values, 0.1, 0.0, 1.0) for values in samples])
    assert wrong_too_often(bounds < POPULATIONS["two-point"].mean, 0.1)
