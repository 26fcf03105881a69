"""Drawing with replacement: counts by channel, from an explicit generator.

With counts n_j of m draws, n_j / (m p_j) is an unbiased weight: its expectation is 1 for every
channel that can be drawn. Proofs: `docs/theory/sampling.md`, sections 2 and 5.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prunella.core.errors import InputError
from prunella.sampling.probabilities import check_probabilities

# Beyond it a count of draws is rounded by less than float32 can hold, and needs no dice.
_MANY = 2.0**52


def draw_multinomial(
    probabilities: ArrayLike,  # (K,) or (B, K)
    draws: int,
    *,
    generator: np.random.Generator,
) -> NDArray[np.int64]:  # (K,) or (B, K)
    """How often each of K is drawn in independent draws with replacement.

    Args:
        probabilities: Shape (K,), or (B, K) for B independent sets; each row sums to 1.
        draws: Number of draws m for each row, at least 1.
        generator: Where the randomness comes from.

    Returns:
        Counts of the same shape, whole numbers that sum to m in each row.

    Raises:
        InputError: a row does not sum to 1, or draws is less than 1.
    """
    rows = _rows(probabilities, draws)
    return np.asarray(generator.multinomial(draws, rows), dtype=np.int64)


def draw_systematic(
    probabilities: ArrayLike,  # (K,) or (B, K)
    draws: int,
    *,
    generator: np.random.Generator,
) -> NDArray[np.int64]:  # (K,) or (B, K)
    """How often each of K is drawn by systematic resampling.

    One uniform number u for each row; the points (u + i) / m, i = 0..m-1, are counted in the
    intervals that the probabilities cut [0, 1] into. E[n_j] = m p_j as in independent draws, but
    n_j is one of the two whole numbers next to m p_j, so that it varies less.

    Source: Carpenter, Clifford and Fearnhead, "Improved particle filter for nonlinear problems",
    IEE Proceedings 146, 1999; Douc and Cappé, "Comparison of resampling schemes for particle
    filtering", 2005, section 2.4.

    Args:
        probabilities: Shape (K,), or (B, K) for B independent sets; each row sums to 1.
        draws: Number of draws m for each row, at least 1.
        generator: Where the randomness comes from.

    Returns:
        Counts of the same shape, whole numbers that sum to m in each row.

    Raises:
        InputError: a row does not sum to 1, or draws is less than 1.
    """
    rows = _rows(probabilities, draws)
    ends = rows.cumsum(axis=-1)
    ends /= ends[..., -1:]  # the last is 1 exactly, so that no point is lost
    offset = generator.random((*rows.shape[:-1], 1))
    # Points below an end: those with u + i < m * end.
    below = np.ceil(draws * ends - offset)
    return np.diff(below, axis=-1, prepend=0).astype(np.int64)


def draw_unique(
    probabilities: ArrayLike,  # (K,)
    unique: int,
    *,
    generator: np.random.Generator,
) -> NDArray[np.float64]:  # (K,)
    """Draw until one channel too many turns up, and leave that last draw out.

    Draws with replacement go on until `unique` + 1 different channels have turned up. The draw that
    brought the last of them is dropped; those before it hold exactly `unique` channels, and
    n_j / (m p_j) with m the number of draws that are left is unbiased, because the rule treats
    these draws alike. (Stopping *at* the wanted number is biased: the last draw is then always a
    channel that was not there before.)

    The draws are not made one by one. In continuous time channel j turns up at rate p_j: first at
    an exponential time, and from then to the end Poisson many times more.

    Source: Pathak, "On inverse sampling with unequal probabilities", Biometrika 51, 1964; proof in
    `docs/theory/sampling.md`, section 5.

    Args:
        probabilities: Shape (K,), sum 1.
        unique: Number of different channels, at least 1 and less than the number of channels that
            can be drawn at all.
        generator: Where the randomness comes from.

    Returns:
        Whole numbers n_j as float64, shape (K,); exactly `unique` of them are not 0.

    Raises:
        InputError: the probabilities do not sum to 1, or unique is out of range.
    """
    chances = check_probabilities(probabilities)
    possible = chances > 0
    support = int(possible.sum())
    if not 1 <= unique < support:
        raise InputError(
            f"unique is {unique}; expected at least 1 and fewer than {support}, the number of "
            "channels with a probability above 0."
        )
    times = np.full(len(chances), np.inf)
    # In units of the largest probability, so that tiny ones do not overflow a time.
    rates = chances / chances.max()
    with np.errstate(over="ignore"):
        times[possible] = generator.standard_exponential(support) / rates[possible]
    order = np.argsort(times, kind="stable")
    drawn = order[:unique]
    rest = rates[drawn] * (times[order[unique]] - times[drawn])
    rest = np.minimum(rest, np.finfo(np.float64).max / len(chances))
    counts = np.zeros(len(chances))
    few = generator.poisson(np.minimum(rest, _MANY))
    counts[drawn] = 1 + np.where(rest < _MANY, few, np.floor(rest))
    return counts


def reweighting(
    counts: ArrayLike,  # (K,) or (B, K)
    probabilities: ArrayLike,  # (K,) or (B, K)
) -> NDArray[np.float64]:  # (K,) or (B, K)
    """The weight n_j / (m p_j) of each channel, 0 for those that were not drawn.

    Args:
        counts: How often each was drawn, shape (K,) or (B, K); m is the sum of a row.
        probabilities: What they were drawn with, of the same shape.

    Raises:
        InputError: the shapes differ, a row has no draws, or a channel of probability 0 was drawn.
    """
    drawn = np.asarray(counts, dtype=np.float64)
    rows = _rows(probabilities, 1)
    if drawn.shape != rows.shape:
        raise InputError(
            f"counts have shape {drawn.shape} and probabilities {rows.shape}; expected the same."
        )
    if not (drawn.sum(axis=-1) > 0).all() or ((drawn > 0) & (rows == 0)).any():
        raise InputError(
            "the counts are not of draws with these probabilities: a row has no draws, or a "
            "channel of probability 0 was drawn."
        )
    expected = drawn.sum(axis=-1, keepdims=True) * rows
    weights = np.divide(drawn, expected, out=np.zeros_like(drawn), where=drawn > 0)
    return np.asarray(weights)


def _rows(probabilities: ArrayLike, draws: int) -> NDArray[np.float64]:
    """Probabilities whose rows sum to 1 up to rounding, or raise InputError."""
    array = np.asarray(probabilities, dtype=np.float64)
    if array.ndim not in (1, 2) or not array.size:
        raise InputError(
            f"probabilities have shape {array.shape}; expected (K,), or (B, K) for B sets of them."
        )
    if draws < 1:
        raise InputError(f"draws is {draws}; expected at least 1.")
    sums = array.sum(axis=-1, keepdims=True)
    if not (array >= 0).all() or not (np.abs(sums - 1) <= 1e-6).all():
        raise InputError(
            f"probabilities are negative, NaN, or a row of them sums to {float(sums.min()):.9g} to "
            f"{float(sums.max()):.9g}; expected 1. Make them with "
            "prunella.sampling.probabilities(scores)."
        )
    return np.asarray(array / sums)
