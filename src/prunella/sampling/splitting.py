"""Hybrid sampling: the largest scores are kept for certain, draws are made among the others.

If the k largest are kept as they are, the draws estimate the sum of the others alone, whose total
score is S_k = S - (s_1 + .. + s_k). Theorem 1 then holds with S_k in place of S
(`docs/theory/sampling.md`, section 5): fewer draws, but of a sum that matters less.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prunella.core.errors import InputError
from prunella.sampling.complexity import epsilon
from prunella.sampling.probabilities import check_weights, draws_for_unique


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """How many are kept for certain.

    Attributes:
        certain: Number k of the largest scores; of equal ones those that come first.
        draws: Draws among the others; 0 where none are made.
        eps: Relative error that is guaranteed: of the draws with probability 1 - delta, without
            draws for certain.
    """

    certain: int
    draws: float
    eps: float


def split(
    scores: ArrayLike,  # (G,)
    draws: int,
    sums: int,
    delta: float,
    constant: float = 1.0,
) -> Split:
    """Spend `draws` on k certain channels and `draws` - k draws so that the bound is smallest.

    Source: Liebenwein et al., "Provable Filter Pruning", ICLR 2020, the partially derandomised
    variant, with k found by trying all instead of by a threshold on the probabilities.

    Args:
        scores: Sensitivities, shape (G,), finite, at least 0, not all 0.
        draws: What certain channels and draws cost together, at least 1.
        sums: Number of (output, position, sign) sums that must all hold.
        delta: Probability that one of them does not, in (0, 1).
        constant: C, by how much a sample's relative contribution may exceed the score.

    Raises:
        InputError: an argument is out of range.
    """
    if draws < 1:
        raise InputError(f"draws is {draws}; expected at least 1.")
    ordered = _ordered(scores)
    tries = range(min(draws, len(ordered) + 1))
    return _best(ordered, tries, lambda k: draws - k, sums, delta, constant)


def split_channels(
    scores: ArrayLike,  # (G,)
    channels: int,
    sums: int,
    delta: float,
    constant: float = 1.0,
) -> Split:
    """As `split`, for a number of different channels in place of a number of draws.

    With k kept for certain, the others get as many draws as hold `channels` - k different channels
    in expectation. With k = `channels` nothing is drawn, and the bound is that of removing the
    others without chance, `constant` * S_k. So the result is never worse than either extreme.

    Args:
        scores: Sensitivities, shape (G,), finite, at least 0, not all 0.
        channels: Number of different channels that stay, at least 1.
        sums: Number of (output, position, sign) sums that must all hold.
        delta: Probability that one of them does not, in (0, 1).
        constant: C, by how much a sample's relative contribution may exceed the score.

    Raises:
        InputError: an argument is out of range.
    """
    if channels < 1:
        raise InputError(f"channels is {channels}; expected at least 1.")
    ordered = _ordered(scores)
    support = int((ordered > 0).sum())
    if channels >= support:
        return Split(certain=support, draws=0.0, eps=0.0)

    def left(k: int) -> float:
        rest = ordered[k:support]
        return draws_for_unique(rest / rest.sum(), channels - k)

    drawn = _best(ordered, range(channels), left, sums, delta, constant)
    removed = constant * float(ordered[channels:].sum())
    if removed <= drawn.eps:
        return Split(certain=channels, draws=0.0, eps=removed)
    return drawn


def _ordered(scores: ArrayLike) -> NDArray[np.float64]:
    array = check_weights("scores", scores)
    if not array.any():
        raise InputError(f"every one of the {array.size} scores is 0; expected a positive one.")
    return np.asarray(-np.sort(-array))


def _best(
    ordered: NDArray[np.float64],
    tries: range,
    draws: Callable[[int], float],
    sums: int,
    delta: float,
    constant: float,
) -> Split:
    """The k with the smallest bound; of equal ones the largest, which leaves less to chance."""
    rest = np.append(ordered[::-1].cumsum()[::-1], 0.0)  # total score from k on
    best = Split(certain=0, draws=0.0, eps=math.inf)
    for k in tries:
        left, total = draws(k), float(rest[k])
        if total == 0:
            return Split(certain=k, draws=0.0, eps=0.0)
        eps = epsilon(left, total, sums, delta, constant)
        if eps <= best.eps:
            best = Split(certain=k, draws=left, eps=eps)
    return best
