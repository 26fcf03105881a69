"""Upper confidence bounds for the mean of bounded variables, from independent samples.

None of them uses a normal approximation. Proofs and a comparison: `docs/theory/certificates.md`,
sections 3 and 4. `bounds.paired` has the bound for differences in {-1, 0, 1}.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr, rel_entr

from prunella.bounds.checks import check_bounded, check_count, check_probability, check_range
from prunella.bounds.roots import STEP, root_from_above
from prunella.core.errors import InputError


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
    check_mean(mean, low, high)
    return min(high, float(mean) + (high - low) * math.sqrt(math.log(1 / delta) / (2 * n)))


def hoeffding_bentkus_upper(mean: float, n: int, delta: float, low: float, high: float) -> float:
    """Upper bound for an expectation from the mean of n samples, confidence 1 - delta.

    Theorem (Bates, Angelopoulos, Lei, Malik and Jordan, J. ACM 68, 2021, article 43, section 3.1):
    for values scaled to [0, 1] the probability of a mean of at most t is at most the smaller of
    exp(-n KL(t, m)) (Hoeffding 1963, theorem 1) and e P(Binomial(n, m) <= ceil(n t)) (Bentkus,
    Ann. Probab. 32, 2004, 1650-1673), where m > t is the expectation. Every m at which that is less
    than delta is ruled out. `docs/theory/certificates.md`, section 4.
    Assumption: independent samples in [low, high] with the same distribution. Their order is not
    used.

    Arguments, result and errors as for `hoeffding_upper`, which is never narrower.
    """
    n = check_count("n", n, low=1)
    delta = check_probability("delta", delta)
    check_mean(mean, low, high)
    scaled = (mean - low) / (high - low)
    if scaled >= 1:
        return high

    def excess(m: float) -> float:
        # logarithms are nearly straight, which saves most steps of the root search
        return math.log(max(hoeffding_bentkus_tail(scaled, n, m), 1e-300) / delta)

    above = 1 - STEP
    upper = 1.0 if excess(above) > 0 else root_from_above(excess, scaled, above)
    return min(high, low + (high - low) * upper)


def hoeffding_bentkus_tail(mean: float, n: int, expectation: float) -> float:
    """P(mean of n values in [0, 1] <= `mean`) is at most this, for an expectation in (0, 1)."""
    if expectation <= mean:
        return 1.0
    divergence = rel_entr(mean, expectation) + rel_entr(1 - mean, 1 - expectation)
    total = n * mean
    # a sum of zeros and ones that was divided by n and multiplied again is the whole number it was
    whole = round(total) if abs(total - round(total)) <= 1e-12 * n else math.ceil(total)
    bentkus = math.e * float(bdtr(whole, n, expectation))
    return min(1.0, math.exp(-n * float(divergence)), bentkus)


def empirical_bernstein_upper(
    values: ArrayLike,  # (n,)
    delta: float,
    low: float,
    high: float,
) -> float:
    """Upper bound for an expectation from mean and sample variance, confidence 1 - delta.

    Theorem (Maurer and Pontil, COLT 2009, theorem 4): with probability at least 1 - delta,
    expectation - mean <= sqrt(2 V ln(2 / delta) / n) + 7 (high - low) ln(2 / delta) / (3 (n - 1)),
    where V is the sample variance with n - 1 in the denominator.
    Assumption: independent samples in [low, high] with the same distribution. Their order is not
    used. Kept for comparison: `betting_upper` is narrower.

    Args:
        values: The samples, shape (n,); with a single one the bound is `high`.
        delta: Probability that the bound is wrong, in (0, 1).
        low: Smallest possible value.
        high: Largest possible value.

    Returns:
        The bound, at most `high`.

    Raises:
        InputError: an argument is out of range, or a value lies outside of [low, high].
    """
    delta = check_probability("delta", delta)
    array = check_bounded(values, low, high)
    if array.size == 1:
        return high
    weight = math.log(2 / delta)
    spread = math.sqrt(2 * float(array.var(ddof=1)) * weight / array.size)
    rest = 7 * (high - low) * weight / (3 * (array.size - 1))
    return min(high, float(array.mean()) + spread + rest)


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
    array = check_bounded(values, low, high)
    scaled = (array - low) / (high - low)
    bets = plug_in_bets(scaled, delta)
    goal = math.log(1 / delta)

    def excess(m: float) -> float:
        return largest_log_capital(scaled, bets, m) - goal

    # the capital grows with m, so the values that are ruled out form an interval above the root
    above = 1 - STEP
    upper = 1.0 if excess(above) < 0 else root_from_above(excess, 0.0, above)
    return min(high, low + (high - low) * upper)


def plug_in_bets(
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


def largest_log_capital(
    scaled: NDArray[np.float64],  # (n,) in [0, 1]
    bets: NDArray[np.float64],  # (n,)
    m: float,
) -> float:
    """Logarithm of the most that betting against an expectation of at least m < 1 ever had."""
    capped = np.minimum(bets, 0.75 / (1 - m))  # below 1 / (1 - m): capital stays positive
    return float(np.cumsum(np.log1p(capped * (m - scaled))).max())


def check_mean(mean: float, low: float, high: float) -> None:
    """Raise InputError unless a mean lies in the range of its values."""
    check_range(low, high)
    if not low <= mean <= high:
        raise InputError(
            f"mean is {mean!r}, outside of [{low:g}, {high:g}]; expected the mean of values that "
            "lie in this range. Check the range."
        )
