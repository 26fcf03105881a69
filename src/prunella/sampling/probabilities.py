"""How likely each channel is drawn, and how many different ones are drawn."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from prunella.core.errors import InputError

_LOG_MOST = 709.0  # of a number of draws; exp(709.79) is beyond the largest float


def check_weights(
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
    array = check_weights("scores", scores)
    largest = array.max()
    if largest == 0:
        raise InputError(
            f"every one of the {array.size} scores is 0; expected at least one positive score. "
            "Use more samples, or mark the group as not prunable."
        )
    relative = array / largest  # so that the sum can neither overflow nor vanish
    return np.asarray(relative / relative.sum())


def inclusion(
    scores: ArrayLike,  # (G,)
    count: int,
) -> NDArray[np.float64]:  # (G,)
    """Probabilities of staying that add up to `count`: proportional to the scores, at most 1.

    The k largest scores stay for certain, the others with probability (count - k) s_j / S_k, S_k
    their sum; k is the smallest for which none of these exceeds 1.

    Source: Särndal, Swensson and Wretman, "Model Assisted Survey Sampling", 1992, section 3.6.1.

    Args:
        scores: Sensitivity of each channel, shape (G,), finite, at least 0.
        count: Number of channels that stay, from 1 to the number of positive scores.

    Raises:
        InputError: a score is negative or not finite, or count is out of range.
    """
    array = check_weights("scores", scores)
    support = int((array > 0).sum())
    if not 1 <= count <= support:
        raise InputError(
            f"count is {count}; expected 1 to {support}, the number of scores above 0."
        )
    order = np.argsort(-array, kind="stable")
    ordered = array[order] / array.max()
    rest = ordered[::-1].cumsum()[::-1]  # total score from k on
    left = count - np.arange(count)
    certain = int(np.argmax(left * ordered[:count] <= rest[:count]))
    chances = np.ones_like(array)
    chances[order[certain:]] = (count - certain) * ordered[certain:] / rest[certain]
    return np.minimum(chances, 1.0)


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
    array = check_probabilities(probabilities)
    if not (math.isfinite(draws) and draws >= 0):
        raise InputError(f"draws is {draws!r}; expected a finite number of at least 0.")
    return _unique(_log_missed(array), draws)


def draws_for_unique(
    probabilities: ArrayLike,  # (G,)
    unique: float,
) -> float:
    """Draws that hold a wanted number of different channels in expectation.

    The inverse of `expected_unique`, found by bisection on the logarithm of the draws; the
    expectation at the result differs from `unique` by at most 1e-9 of it.

    Args:
        probabilities: Shape (G,), each in [0, 1], sum 1 within 1e-6.
        unique: Wanted expectation, at least 0 and less than the number of channels that can be
            drawn at all; where a channel has probability 1, not between 0 and 1.

    Returns:
        The number of draws, a real number: at least `unique` where that is at least 1.

    Raises:
        InputError: the probabilities do not sum to 1, no number of draws gives that many, or it is
            beyond the largest float.
    """
    array = check_probabilities(probabilities)
    support = int((array > 0).sum())
    if unique in (0, 1):
        return float(unique)
    # A channel of probability 1 is there from the first draw on: nothing lies between 0 and 1.
    if not float(array.max() == 1) < unique < support:
        raise InputError(
            f"unique is {unique!r}; expected 0, 1, or a number in between or above (in between "
            f"only if no probability is 1) and less than {support}, which is how many channels "
            "have a probability above 0: all of them are never certain to be drawn."
        )
    log_missed = _log_missed(array[array > 0])
    low = high = math.log(unique)
    while _unique(log_missed, math.exp(low)) > unique:
        low -= 1
    while _unique(log_missed, math.exp(high)) < unique:
        if high == _LOG_MOST:
            raise InputError(
                f"unique is {unique!r}, which takes more than {math.exp(_LOG_MOST):.0e} draws, as "
                f"the smallest probability above 0 is {array[array > 0].min():.1e}; expected less, "
                "or 0 in place of such a probability."
            )
        high = min(high + 1, _LOG_MOST)
    if low == high:
        return float(math.exp(low))
    root = brentq(lambda x: _unique(log_missed, math.exp(x)) - unique, low, high, xtol=1e-14)
    return math.exp(root)


def check_probabilities(
    probabilities: ArrayLike,  # (G,)
) -> NDArray[np.float64]:
    """Probabilities as float64, or raise InputError unless they are (G,) and sum to 1."""
    array = check_weights("probabilities", probabilities)
    if abs(float(array.sum()) - 1) > 1e-6:
        raise InputError(
            f"the probabilities sum to {float(array.sum()):.9g}; expected 1. "
            "Make them with prunella.sampling.probabilities(scores)."
        )
    return array


def _log_missed(array: NDArray[np.float64]) -> NDArray[np.float64]:
    """ln(1 - p), by which one more draw adds to the logarithm of never being drawn."""
    with np.errstate(divide="ignore"):  # p = 1 gives -inf, which is right: it is surely drawn
        return np.asarray(np.log1p(-np.minimum(array, 1.0)))


def _unique(log_missed: NDArray[np.float64], draws: float) -> float:
    with np.errstate(over="ignore"):  # to minus infinity: such a channel is drawn for certain
        return float(-np.expm1(draws * log_missed).sum()) if draws > 0 else 0.0
