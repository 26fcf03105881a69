"""P-values of "the expectation is above this level", each the dual of an upper bound.

A p-value is at most delta with probability at most delta, whatever delta, if the hypothesis is
true. Rejecting where it is at most delta is the same as the bound at delta being at most the level.

Theorem (inversion; Casella and Berger, Statistical Inference, 2002, section 9.2). If for each delta
in (0, 1) P(U(delta) < m) <= delta, where m is the expectation, and if U(delta) never grows with
delta, then inf {delta: U(delta) <= level} is a p-value of m > level.
`docs/theory/certificates.md`, section 5, has the proof, and why each family here is of that kind.
"""

from __future__ import annotations

import math

from numpy.typing import ArrayLike
from scipy.special import bdtr

from prunella.bounds.checks import check_bounded, check_count, check_probability
from prunella.bounds.means import (
    check_mean,
    hoeffding_bentkus_tail,
    largest_log_capital,
    plug_in_bets,
)
from prunella.bounds.paired import not_above
from prunella.core.errors import InputError

_SMALLEST = math.log(1e-100)  # of the p-values that inversion tells from 0
_HALVINGS = 60  # of that range: the p-value is right to 1e-15 of itself


def clopper_pearson_p_value(successes: int, n: int, level: float) -> float:
    """P-value of "the probability is above `level`": P(Binomial(n, level) <= successes).

    The dual of `clopper_pearson_upper`, with its theorem and assumption.

    Args:
        successes: Trials in which the event happened, from 0 to n.
        n: Number of trials, at least 1.
        level: The probability in question, in (0, 1).

    Raises:
        InputError: an argument is out of range.
    """
    n = check_count("n", n, low=1)
    successes = check_count("successes", successes, low=0, high=n)
    return float(bdtr(successes, n, check_probability("level", level)))


def paired_difference_p_value(plus: int, minus: int, n: int, level: float) -> float:
    """P-value of "the mean of a difference in {-1, 0, 1} is above `level`".

    The dual of `paired_difference_upper`, with its theorem and assumption, by bisection.

    Args:
        plus: Samples with difference 1.
        minus: Samples with difference -1.
        n: Number of samples, at least 1 and at least plus + minus.
        level: The mean in question, in [-1, 1).

    Returns:
        The p-value, rounded up; never below 1e-100.

    Raises:
        InputError: an argument is out of range.
    """
    n = check_count("n", n, low=1)
    plus = check_count("plus", plus, low=0, high=n)
    minus = check_count("minus", minus, low=0, high=n - plus)
    _check_level(level, -1.0, 1.0)

    def rejects(log_delta: float) -> bool:
        return not_above(level, plus, minus, n, math.exp(log_delta))

    low, high = _SMALLEST, -1e-12
    if not rejects(high):
        return 1.0
    if rejects(low):
        return math.exp(low)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if rejects(middle) else (middle, high)
    return math.exp(high)


def hoeffding_bentkus_p_value(
    mean: float, n: int, level: float, low: float = 0.0, high: float = 1.0
) -> float:
    """P-value of "the expectation is above `level`" from the mean of n samples.

    The dual of `hoeffding_bentkus_upper`, with its theorem and assumption.

    Args:
        mean: Mean of the sample, in [low, high].
        n: Number of samples, at least 1.
        level: The expectation in question, in [low, high).
        low: Smallest possible value.
        high: Largest possible value.

    Raises:
        InputError: an argument is out of range.
    """
    n = check_count("n", n, low=1)
    check_mean(mean, low, high)
    _check_level(level, low, high)
    width = high - low
    return hoeffding_bentkus_tail((mean - low) / width, n, (level - low) / width)


def betting_p_value(
    values: ArrayLike,  # (n,)
    level: float,
    low: float = 0.0,
    high: float = 1.0,
    *,
    delta: float = 0.01,
) -> float:
    """P-value of "the expectation is above `level`": one over the largest capital, at most 1.

    Ville's inequality, see `betting_upper`, whose assumption it shares: **in the order drawn**.

    Args:
        values: The samples in the order drawn, shape (n,).
        level: The expectation in question, in [low, high).
        low: Smallest possible value.
        high: Largest possible value.
        delta: The bets suit a threshold of about this. The p-value is valid for any threshold; at
            this one rejection agrees with `betting_upper`.

    Raises:
        InputError: an argument is out of range, or a value lies outside of [low, high].
    """
    delta = check_probability("delta", delta)
    array = check_bounded(values, low, high)
    _check_level(level, low, high)
    scaled = (array - low) / (high - low)
    bets = plug_in_bets(scaled, delta)
    capital = largest_log_capital(scaled, bets, (level - low) / (high - low))
    return math.exp(-max(capital, 0.0))


def _check_level(level: float, low: float, high: float) -> None:
    if not low <= level < high:
        raise InputError(
            f"level is {level!r}; expected a number from {low:g} to below {high:g}, the range of "
            "the values."
        )
