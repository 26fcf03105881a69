"""Bounds for a quantile by an order statistic; no assumption on the shape of the distribution.

Theorem (one-sided tolerance limit; Wilks, Ann. Math. Statist. 12, 1941, 91-96). Let R_1..R_n be
independent with the same distribution, R_(k) the k-th smallest. If
P(Binomial(n, 1 - alpha) >= k) <= delta, then with probability 1 - delta over the sample a new R
satisfies P(R <= R_(k)) >= 1 - alpha. Ties and infinite values are allowed.

Theorem (split conformal; Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005,
chapter 2). If R_1..R_n and a new R are exchangeable, P(R <= R_(k)) >= 1 - alpha for
k = ceil((n + 1)(1 - alpha)), the probability being over the sample and the new R together.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import bdtr

from prunella.bounds.checks import check_count, check_probability, check_values


def tolerance_rank(n: int, alpha: float, delta: float) -> int | None:
    """The smallest rank k whose order statistic is a tolerance limit.

    Tolerance-limit theorem of the module; `docs/theory/certificates.md`, section 2.

    Args:
        n: Number of independent values, at least 1.
        alpha: Share of the distribution that may lie above the limit, in (0, 1).
        delta: Probability that more than that lies above it, in (0, 1).

    Returns:
        The smallest k in 1..n with P(Binomial(n, 1 - alpha) <= k - 1) >= 1 - delta; None if even
        k = n fails, that is if n is less than `samples_needed(alpha, delta)`.

    Raises:
        InputError: an argument is out of range.
    """
    n = check_count("n", n, low=1)
    alpha = check_probability("alpha", alpha)
    delta = check_probability("delta", delta)

    def fails_at_most_delta(rank: int) -> bool:
        # P(Binomial(n, 1 - alpha) >= rank) counted by the values above the quantile instead, so
        # that a small alpha or delta is never subtracted from 1
        return bool(bdtr(n - rank, n, alpha) <= delta)

    if not fails_at_most_delta(n):
        return None
    low, high = 0, n  # the probability falls with the rank: low always fails, high never does
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fails_at_most_delta(middle) else (middle, high)
    return high


def tolerance_limit(
    values: ArrayLike,  # (n,)
    alpha: float,
    delta: float,
) -> float | None:
    """A number that at most a share alpha of new values exceeds, with confidence 1 - delta.

    Tolerance-limit theorem of the module.

    Args:
        values: One number for each independent sample, shape (n,); may be infinite, not NaN.
        alpha: Share of new values that may exceed the limit, in (0, 1).
        delta: Probability that the limit is wrong, in (0, 1).

    Returns:
        The order statistic of rank `tolerance_rank`, or None if there are too few values.

    Raises:
        InputError: an argument is out of range, or a value is NaN.
    """
    array = check_values(values)
    rank = tolerance_rank(array.size, alpha, delta)
    return None if rank is None else float(np.partition(array, rank - 1)[rank - 1])


def samples_needed(alpha: float, delta: float) -> int:
    """The smallest n for which `tolerance_rank` is not None.

    The largest value is a limit iff (1 - alpha)**n <= delta, so n = ceil(ln delta / ln(1 - alpha)).

    Raises:
        InputError: alpha or delta is not in (0, 1).
    """
    alpha = check_probability("alpha", alpha)
    delta = check_probability("delta", delta)
    n = max(1, math.ceil(math.log(delta) / math.log1p(-alpha)))
    # the quotient of logarithms may round across an integer; the rank itself decides
    while n > 1 and tolerance_rank(n - 1, alpha, delta) is not None:
        n -= 1
    while tolerance_rank(n, alpha, delta) is None:
        n += 1
    return n


def conformal_rank(n: int, alpha: float) -> int | None:
    """The rank of the split-conformal limit, valid on average over samples.

    Split-conformal theorem of the module. `alpha` is read as the decimal number it prints as, so
    that 9 values and alpha = 0.3 give rank 7 although 0.3 has no exact binary form.

    Args:
        n: Number of exchangeable values, at least 1.
        alpha: Probability that a new value exceeds the limit, in (0, 1).

    Returns:
        ceil((n + 1)(1 - alpha)), or None if that is more than n: no finite limit exists.

    Raises:
        InputError: an argument is out of range.
    """
    n = check_count("n", n, low=1)
    exact = Fraction(repr(check_probability("alpha", alpha)))
    rank = math.ceil((n + 1) * (1 - exact))
    return rank if rank <= n else None


def conformal_samples_needed(alpha: float) -> int:
    """The smallest n for which `conformal_rank` is not None.

    The largest of n values is a limit iff (n + 1)(1 - alpha) <= n, so n = ceil(1 / alpha - 1).

    Raises:
        InputError: alpha is not in (0, 1).
    """
    exact = Fraction(repr(check_probability("alpha", alpha)))
    return max(1, math.ceil(1 / exact - 1))
