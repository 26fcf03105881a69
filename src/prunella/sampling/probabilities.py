"""How likely each channel is drawn, and how many different ones are drawn."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prunella.core.errors import InputError


def _check_weights(
    name: str,
    weights: ArrayLike,  # (G,)
) -> NDArray[np.float64]:
    """Return weights as float64, or raise unless they are (G,), finite and not negative."""
    array = np.asarray(weights, dtype=np.float64)
    if array.ndim != 1 or not array.size:
        raise InputError(
            f"{name} has shape {array.shape}; expected one number for each channel, shape (G,) "
            "with G of at least 1."
        )
    bad = ~(np.isfinite(array) & (array >= 0))
    if bad.any():
        first = int(np.argmax(bad))
        raise InputError(
            f"{name}[{first}] is {array[first]} and {int(bad.sum())} of {array.size} values are "
            "negative or not finite; expected finite numbers of at least 0."
        )
    return array


def probabilities(
    scores: ArrayLike,  # (G,)
) -> NDArray[np.float64]:  # (G,)
    """Probabilities proportional to the scores.

    `docs/theory/sampling.md`, section 1: p_j = s_j / sum of s.

    Args:
        scores: Sensitivity of each channel, shape (G,), finite, at least 0, not all 0.

    Returns:
        Shape (G,); sums to 1 up to rounding.

    Raises:
        InputError: a score is negative or not finite, or every score is 0.
    """
    array = _check_weights("scores", scores)
    largest = array.max()
    if largest == 0:
        raise InputError(
            f"every one of the {array.size} scores is 0; expected at least one positive score. "
            "Use more samples, or mark the group as not prunable."
        )
    relative = array / largest  # so that the sum can neither overflow nor vanish
    return np.asarray(relative / relative.sum())


def expected_unique(
    probabilities: ArrayLike,  # (G,)
    draws: float,
) -> float:
    """Expected number of different channels among draws with replacement.

    sum over j of 1 - (1 - p_j)**draws, by linearity of expectation; exact for a whole number of
    draws and its smooth continuation in between. Accurate to rounding for p_j as small as 1e-300.

    Args:
        probabilities: Shape (G,), each in [0, 1], sum 1 within 1e-6.
        draws: Number of draws, finite, at least 0; need not be whole.

    Returns:
        A number from 0 to min(G, draws), or to G if draws is less than 1.

    Raises:
        InputError: the probabilities do not sum to 1, or draws is negative or not finite.
    """
    array = _check_weights("probabilities", probabilities)
    if abs(float(array.sum()) - 1) > 1e-6:
        raise InputError(
            f"the probabilities sum to {float(array.sum()):.9g}; expected 1. "
            "Make them with prunella.sampling.probabilities(scores)."
        )
    if not (math.isfinite(draws) and draws >= 0):
        raise InputError(f"draws is {draws!r}; expected a finite number of at least 0.")
    if draws == 0:
        return 0.0
    with np.errstate(divide="ignore"):  # p = 1 gives -inf, which is right: it is surely drawn
        missed = draws * np.log1p(-np.minimum(array, 1.0))
    return float(-np.expm1(missed).sum())
