"""Exact one-sided confidence bounds for a probability.

Theorem (Clopper and Pearson, Biometrika 26, 1934, 404-413). Let K be the number of successes in n
independent trials of probability p. The largest u with P(Binomial(n, u) <= K) >= delta satisfies
P(p <= u) >= 1 - delta for every p and n. By the identity between binomial sums and the incomplete
beta function, u is the (1 - delta) quantile of Beta(K + 1, n - K).

Assumption: the trials are independent and have the same probability.
"""

from __future__ import annotations

import math

from scipy.special import betainccinv, betaincinv

from prunella.bounds.checks import check_count, check_probability


def clopper_pearson_upper(successes: int, n: int, delta: float) -> float:
    """Upper bound for a probability, valid with confidence 1 - delta.

    Theorem and assumption: see the module; `docs/theory/certificates.md`, section 1.

    Args:
        successes: Trials in which the event happened, from 0 to n.
        n: Number of trials, at least 1.
        delta: Probability that the bound is wrong, in (0, 1).

    Returns:
        The bound, in (0, 1]; it is 1 if every trial succeeded and 1 - delta**(1/n) if none did.

    Raises:
        InputError: an argument is out of range.
    """
    n = check_count("n", n, low=1)
    successes = check_count("successes", successes, low=0, high=n)
    delta = check_probability("delta", delta)
    if successes == n:  # the beta distribution degenerates; any probability explains the data
        return 1.0
    upper = float(betainccinv(successes + 1, n - successes, delta))
    return 1.0 if math.isnan(upper) else upper  # the inverse fails for some delta below 1e-100


def clopper_pearson_lower(successes: int, n: int, delta: float) -> float:
    """Lower bound for a probability, valid with confidence 1 - delta.

    The mirror image of `clopper_pearson_upper`: a success of one is a failure of the other.

    Args:
        successes: Trials in which the event happened, from 0 to n.
        n: Number of trials, at least 1.
        delta: Probability that the bound is wrong, in (0, 1).

    Returns:
        The bound, in [0, 1); it is 0 if no trial succeeded and delta**(1/n) if all did.

    Raises:
        InputError: an argument is out of range.
    """
    n = check_count("n", n, low=1)
    successes = check_count("successes", successes, low=0, high=n)
    delta = check_probability("delta", delta)
    if successes == 0:
        return 0.0
    return float(betaincinv(successes, n - successes + 1, delta))
