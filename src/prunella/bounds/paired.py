"""Upper confidence bounds for the mean of a paired difference in {-1, 0, 1}.

No normal approximation. Proofs and a comparison: `docs/theory/certificates.md`, section 3.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtrc

from prunella.bounds.binomial import clopper_pearson_lower, clopper_pearson_upper
from prunella.bounds.checks import check_count, check_probability
from prunella.bounds.means import hoeffding_upper
from prunella.bounds.roots import root_from_above

NUISANCE_SHARE = 0.2  # of delta, spent on bounding how often the pair differs at all


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
    tail_delta = (1 - NUISANCE_SHARE) * delta
    discordance = clopper_pearson_upper(plus + minus, n, NUISANCE_SHARE * delta)
    if n == 1:
        return 1.0
    bound = _drop_at(total, n, tail_delta, min(discordance, 0.5))
    if discordance > 0.5:
        bound = max(bound, hoeffding_upper(total / n, n, tail_delta, -1.0, 1.0))
    return bound


def not_above(level: float, plus: int, minus: int, n: int, delta: float) -> bool:
    """Whether `paired_difference_upper` is at most `level`, without looking for the bound.

    It is if each of the numbers of which it is the largest is; of the root of the falling tail
    that is told by its sign.
    """
    if n == 1:
        return False
    total = plus - minus
    tail_delta = (1 - NUISANCE_SHARE) * delta
    discordance = clopper_pearson_upper(plus + minus, n, NUISANCE_SHARE * delta)
    largest = min(discordance, 0.5)
    if discordance > 0.5 and hoeffding_upper(total / n, n, tail_delta, -1.0, 1.0) > level:
        return False
    if largest <= level:
        return True
    below = max((total + 1) / (n - 1), -largest)
    return below <= level and tail(total, n, level, largest) <= tail_delta


def _drop_at(total: int, n: int, delta: float, discordance: float) -> float:
    """The largest drop that the tail test at one discordance does not reject, rounded up."""
    # below this drop the tail need not grow with the discordance: nothing there is rejected
    below = max((total + 1) / (n - 1), -discordance)
    above = discordance  # a mean cannot exceed the probability that the difference is not 0

    def excess(drop: float) -> float:
        # logarithms are nearly straight, which saves most steps of the root search
        return math.log(max(tail(total, n, drop, discordance), 1e-300) / delta)

    if below >= above or excess(above) > 0:
        return above
    return below if excess(below) <= 0 else root_from_above(excess, below, above)


def tail(total: int, n: int, drop: float, discordance: float) -> float:
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
