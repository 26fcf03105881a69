"""Upper confidence bounds for the mean of bounded variables, from independent samples.

None of them uses a normal approximation. Proofs and a comparison: `docs/theory/certificates.md`,
section 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import bdtrc

from prunella.bounds.binomial import clopper_pearson_lower, clopper_pearson_upper
from prunella.bounds.checks import check_count, check_probability, check_values
from prunella.core.errors import InputError

_NUISANCE_SHARE = 0.2  # of delta, spent on bounding how often the pair differs at all
_STEP = 1e-10  # bounds are rounded up to within this


def _check_range(low: float, high: float) -> None:
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(
            f"the range is [{low!r}, {high!r}]; expected two finite numbers, low less than high, "
            "between which every value must lie."
        )


def hoeffding_upper(mean: float, n: int, delta: float, low: float, high: float) -> float:
    """Upper bound for an expectation from the mean of n samples, confidence 1 - delta.

    Theorem (Hoeffding, J. Amer. Statist. Assoc. 58, 1963, 13-30, theorem 2):
    P(mean <= expectation - (high - low) sqrt(ln(1 / delta) / (2 n))) <= delta.
    Assumption: independent samples in [low, high] with the same expectation.

    Args:
        mean: Mean of the sample, in [low, high].
        n: Number of samples, at least 1.
        delta: Probability that the bound is wrong, in (0, 1).
        low: Smallest possible value.
        high: Largest possible value.

    Returns:
        The bound, at most `high`.

    Raises:
        InputError: an argument is out of range.
    """
    n = check_count("n", n, low=1)
    delta = check_probability("delta", delta)
    _check_range(low, high)
    if not low <= mean <= high:
        raise InputError(
            f"mean is {mean!r}, outside of [{low:g}, {high:g}]; expected the mean of values that "
            "lie in this range. Check the range."
        )
    return min(high, float(mean) + (high - low) * math.sqrt(math.log(1 / delta) / (2 * n)))


def betting_upper(
    values: ArrayLike,  # (n,)
    delta: float,
    low: float,
    high: float,
) -> float:
    """Upper bound for an expectation that adapts to the variance, confidence 1 - delta.

    Theorem (Waudby-Smith and Ramdas, J. R. Stat. Soc. B 86, 2024, 1-27): with values scaled to
    [0, 1] and bets l_i in [0, 1 / (1 - m)) that depend on earlier values only, the capital
    prod (1 + l_i (m - x_i)) has expectation at most 1 if the expectation of x is at least m. By
    Ville's inequality it ever reaches 1 / delta with probability at most delta, so every m at
    which it did is ruled out. The bets are the predictable plug-in for a fixed n.
    Assumption: the values are independent with the same expectation, **in the order drawn**; an
    order chosen after seeing them makes the bound invalid. It depends on that order.

    Args:
        values: The samples in the order drawn, shape (n,).
        delta: Probability that the bound is wrong, in (0, 1).
        low: Smallest possible value.
        high: Largest possible value.

    Returns:
        The bound, at most `high`.

    Raises:
        InputError: an argument is out of range, or a value lies outside of [low, high].
    """
    delta = check_probability("delta", delta)
    _check_range(low, high)
    array = check_values(values)
    if array.min() < low or array.max() > high:
        raise InputError(
            f"values run from {array.min():g} to {array.max():g}, outside of [{low:g}, {high:g}]; "
            "the bound needs a range that holds every possible value."
        )
    scaled = (array - low) / (high - low)
    bets = _plug_in_bets(scaled, delta)
    goal = math.log(1 / delta)

    def excess(m: float) -> float:
        capped = np.minimum(bets, 0.75 / (1 - m))  # below 1 / (1 - m): capital stays positive
        return float(np.cumsum(np.log1p(capped * (m - scaled))).max()) - goal

    # the capital grows with m, so the values that are ruled out form an interval above the root
    above = 1 - _STEP
    upper = 1.0 if excess(above) < 0 else _root_from_above(excess, 0.0, above)
    return min(high, low + (high - low) * upper)


def _plug_in_bets(
    scaled: NDArray[np.float64],  # (n,) in [0, 1]
    delta: float,
) -> NDArray[np.float64]:
    """Bet i from the values before i: sqrt(2 ln(1 / delta) / (n * running variance))."""
    n = scaled.size
    counts = np.arange(2, n + 2)
    means = (0.5 + np.cumsum(scaled)) / counts
    variances = (0.25 + np.cumsum((scaled - means) ** 2)) / counts
    before = np.concatenate(([0.25], variances[:-1]))
    return np.sqrt(2 * math.log(1 / delta) / (n * before))


def paired_difference_upper(plus: int, minus: int, n: int, delta: float) -> float:
    """Upper bound for the mean of a difference in {-1, 0, 1}, confidence 1 - delta.

    For an accuracy drop, `plus` counts the samples that only the original names correctly and
    `minus` those that only the small network does.

    Method: exact test of every pair (drop d, discordance q = P(difference is not 0)), inverted.
    The share 0.2 of delta goes to the Clopper-Pearson bound Q for q; the rest to the exact tail
    P(sum of differences <= observed sum). Theorem 3 of `docs/theory/certificates.md` shows, from
    Darroch (Ann. Math. Statist. 35, 1964, 1317-1321), that for q <= 1/2 and
    d >= (sum + 1) / (n - 1) the tail grows with q, so the largest is at Q. For q > 1/2 the tail
    is bounded by Hoeffding's inequality. Dealing with a nuisance parameter in this way is due to
    Berger and Boos (J. Amer. Statist. Assoc. 89, 1994, 1012-1016).
    Assumption: the n pairs are independent and identically distributed. Their order is not used.

    Args:
        plus: Samples with difference 1.
        minus: Samples with difference -1.
        n: Number of samples, at least 1 and at least plus + minus.
        delta: Probability that the bound is wrong, in (0, 1).

    Returns:
        The bound, in [-1, 1]; negative if the mean is surely negative.

    Raises:
        InputError: an argument is out of range.
    """
    n = check_count("n", n, low=1)
    plus = check_count("plus", plus, low=0, high=n)
    minus = check_count("minus", minus, low=0, high=n - plus)
    delta = check_probability("delta", delta)
    total = plus - minus
    tail_delta = (1 - _NUISANCE_SHARE) * delta
    discordance = clopper_pearson_upper(plus + minus, n, _NUISANCE_SHARE * delta)
    if n == 1:
        return 1.0
    bound = _drop_at(total, n, tail_delta, min(discordance, 0.5))
    if discordance > 0.5:
        bound = max(bound, hoeffding_upper(total / n, n, tail_delta, -1.0, 1.0))
    return bound


def _drop_at(total: int, n: int, delta: float, discordance: float) -> float:
    """The largest drop that the tail test at one discordance does not reject, rounded up."""
    # below this drop the tail need not grow with the discordance: nothing there is rejected
    below = max((total + 1) / (n - 1), -discordance)
    above = discordance  # a mean cannot exceed the probability that the difference is not 0

    def excess(drop: float) -> float:
        # logarithms are nearly straight, which saves most steps of the root search
        return math.log(max(_tail(total, n, drop, discordance), 1e-300) / delta)

    if below >= above or excess(above) > 0:
        return above
    return below if excess(below) <= 0 else _root_from_above(excess, below, above)


def _root_from_above(function: Callable[[float], float], below: float, above: float) -> float:
    """A number at most `_STEP` above the root of a monotone function, never below it."""
    root = float(brentq(function, below, above, xtol=_STEP / 4, rtol=1e-12))
    return min(above, root + _STEP / 2)


def _tail(total: int, n: int, drop: float, discordance: float) -> float:
    """P(sum of n differences <= total) for a given mean and discordance <= 1/2; never too small.

    The generating function of one difference has real roots there, hence the sum has the law of
    Binomial(n, up) - Binomial(n, down) with the two independent.
    """
    root = math.sqrt(max(1 + drop * drop - 2 * discordance, 0.0))
    up = max(discordance + drop, 0.0) / (1 + drop + root)
    down = max(discordance - drop, 0.0) / (1 - drop + root)
    mean = n * down
    # terms beyond 12 standard deviations are not summed: their mass is added as if it all counted
    last = min(n, math.ceil(mean + 12 * math.sqrt(mean) + 40))
    downs = _binomial_masses(n, down, last)
    allowed = total + np.arange(last + 1)  # most ups that leave the sum at most `total`
    ups = np.cumsum(_binomial_masses(n, up, min(n, max(total + last, 0))))
    at_most = np.where(allowed < 0, 0.0, ups[np.clip(allowed, 0, ups.size - 1)])
    rest = float(bdtrc(last, n, down)) if last < n else 0.0
    return float(downs @ at_most) + rest


def _binomial_masses(n: int, p: float, last: int) -> NDArray[np.float64]:
    """P(Binomial(n, p) = k) for k from 0 to last, p < 1; through logarithms of their ratios."""
    k = np.arange(1, last + 1)
    log_odds = math.log(p / (1 - p)) if p > 0 else -math.inf
    steps = np.log((n + 1 - k) / k) + log_odds
    return np.asarray(np.exp(n * math.log1p(-p) + np.concatenate(([0.0], np.cumsum(steps)))))


def clopper_pearson_difference_upper(plus: int, minus: int, n: int, delta: float) -> float:
    """The same bound by two Clopper-Pearson bounds at delta / 2; simpler, and usually looser.

    Theorem: P(plus) <= upper and P(minus) >= lower each fail with probability at most delta / 2,
    so by the union bound their difference is a valid bound. Kept for comparison.

    Arguments, assumption and errors as for `paired_difference_upper`.
    """
    n = check_count("n", n, low=1)
    plus = check_count("plus", plus, low=0, high=n)
    minus = check_count("minus", minus, low=0, high=n - plus)
    delta = check_probability("delta", delta)
    return clopper_pearson_upper(plus, n, delta / 2) - clopper_pearson_lower(minus, n, delta / 2)
