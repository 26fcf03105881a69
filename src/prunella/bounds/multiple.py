"""Tests of several hypotheses with one probability of any false rejection.

All three keep P(some true hypothesis is rejected) <= delta however the p-values depend on each
other, for instance because they come from the same samples. Assumption: each is a valid p-value,
and the hypotheses (for `fixed_sequence` also their order) were fixed before the samples were seen.
`docs/theory/certificates.md`, section 5, has the proofs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prunella.bounds.checks import check_p_values, check_probability


def fixed_sequence(
    p_values: ArrayLike,  # (m,)
    delta: float,
) -> NDArray[np.bool_]:  # (m,)
    """Reject in the given order, each at the whole of delta, up to the first that is not rejected.

    Theorem (Bauer, Statist. Med. 10, 1991, 871-890; for the choice among candidates Angelopoulos,
    Bates, Candès, Jordan and Lei, Learn then Test, 2021, section 3): the probability of any false
    rejection is at most delta, because the first true hypothesis has to be rejected for that.

    Args:
        p_values: One for each hypothesis in the order that was fixed beforehand.
        delta: Probability of any false rejection, in (0, 1).

    Raises:
        InputError: delta is not in (0, 1), or a p-value not in [0, 1].
    """
    delta = check_probability("delta", delta)
    return np.logical_and.accumulate(check_p_values(p_values) <= delta)


def bonferroni(
    p_values: ArrayLike,  # (m,)
    delta: float,
) -> NDArray[np.bool_]:  # (m,)
    """Reject each hypothesis whose p-value is at most delta / m.

    Theorem: the union bound. Never rejects more than `holm`; unlike it, it has confidence bounds of
    the same form.

    Args:
        p_values: One for each hypothesis.
        delta: Probability of any false rejection, in (0, 1).

    Raises:
        InputError: delta is not in (0, 1), or a p-value not in [0, 1].
    """
    delta = check_probability("delta", delta)
    array = check_p_values(p_values)
    return array <= delta / max(array.size, 1)


def holm(
    p_values: ArrayLike,  # (m,)
    delta: float,
) -> NDArray[np.bool_]:  # (m,)
    """From the smallest p-value on, reject the k-th at delta / (m - k + 1), up to the first not.

    Theorem (Holm, Scand. J. Statist. 6, 1979, 65-70).

    Args:
        p_values: One for each hypothesis.
        delta: Probability of any false rejection, in (0, 1).

    Raises:
        InputError: delta is not in (0, 1), or a p-value not in [0, 1].
    """
    delta = check_probability("delta", delta)
    array = check_p_values(p_values)
    order = np.argsort(array, kind="stable")
    allowed = delta / np.arange(array.size, 0, -1)
    rejected = np.zeros(array.size, dtype=np.bool_)
    rejected[order] = np.logical_and.accumulate(array[order] <= allowed)
    return rejected
