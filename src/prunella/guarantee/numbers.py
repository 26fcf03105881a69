"""The constant C and the error bounds of one group, from plain numbers.

Statements and proofs: `docs/theory/sampling.md`, "How many draws" and "The constant". Throughout, s
are the scores after `floored`, and the assumption A(C) is that no channel's share of any sum
exceeds C s.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from prunella.bounds import conformal_rank, conformal_samples_needed
from prunella.core.errors import DataError, InputError
from prunella.sampling import epsilon, expected_unique, probabilities

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """A procedure that keeps channels partly by chance, and its error bound.

    Attributes:
        certain: Number of channels that stay for certain.
        draws: Number of draws with replacement among the others.
        eps: Relative error that all sums keep, with probability 1 - delta over the draws.
    """

    certain: int
    draws: int
    eps: float


def floored(
    scores: Floats,  # (G,)
) -> Floats:  # (G,)
    """Scores that are 0 raised to the smallest positive one.

    A channel that contributed nothing on the calibration samples may do so on new ones; its ratio
    to a score of 0 would be infinite. The floor depends on the calibration samples alone, as it
    must: C is measured against floored scores.

    Raises:
        InputError: no score is positive.
    """
    positive = scores[scores > 0]
    if not positive.size:
        raise InputError(
            f"every one of the {scores.size} scores is 0; expected at least one positive score. "
            "The channels' readers see only zeros: use more varied calibration samples."
        )
    return np.where(scores > 0, scores, positive.min())


def held_out_limit(
    values: Floats,  # (n,)
    alpha: float,
    what: str,
) -> float:
    """A limit that a new value exceeds with probability at most alpha (split conformal).

    The k-th smallest value, k = ceil((n + 1)(1 - alpha)); the probability is over the values and
    the new one together, which must be exchangeable.

    Raises:
        DataError: there are too few values for any finite limit.
    """
    rank = conformal_rank(values.size, alpha)
    if rank is None:
        raise DataError(
            f"{values.size} held-out samples are too few for {what} at alpha = {alpha:g}: at least "
            f"{conformal_samples_needed(alpha):,} are needed. Give more samples or a larger alpha."
        )
    return float(np.partition(values, rank - 1)[rank - 1])


def fixed_error(
    scores: Floats,  # (G,) floored
    weights: Floats,  # (G,) 0 for channels that go, 1 for those that stay as they are
    constant: float,
) -> float:
    """Relative error when contributions are multiplied by given weights: C sum of |w - 1| s."""
    return constant * float((np.abs(weights - 1) * scores).sum())


def random_draws(
    scores: Floats,  # (G,) floored
    drawable: NDArray[np.bool_],  # (G,)
    kept: int,
    sums: int,
    delta: float,
    constant: float,
) -> Draws:
    """Draws that hold `kept` different channels in expectation, and their error bound.

    Channels that are not drawable, because their score was 0, count as removed. If `kept` is not
    less than the number of the others, these all stay and nothing is left to chance.
    """
    lost = fixed_error(scores, drawable.astype(np.float64), constant)
    ordered = -np.sort(-scores[drawable])
    if kept >= ordered.size:
        return Draws(certain=kept, draws=0, eps=_all_stay(scores, drawable, kept, constant))
    draws = _draws_for(ordered, kept)
    return Draws(certain=0, draws=draws, eps=lost + _drawn(draws, ordered, sums, delta, constant))


def hybrid_draws(
    scores: Floats,  # (G,) floored
    drawable: NDArray[np.bool_],  # (G,)
    kept: int,
    sums: int,
    delta: float,
    constant: float,
) -> Draws:
    """As `random_draws`, with the k largest scores kept for certain; k makes the bound smallest.

    Source: Liebenwein et al., "Provable Filter Pruning", ICLR 2020, the partially derandomised
    variant, with k found by trying all below `kept`.
    """
    lost = fixed_error(scores, drawable.astype(np.float64), constant)
    ordered = -np.sort(-scores[drawable])
    if kept >= ordered.size:
        return Draws(certain=kept, draws=0, eps=_all_stay(scores, drawable, kept, constant))
    best = Draws(certain=0, draws=0, eps=math.inf)
    for certain in range(kept):
        rest = ordered[certain:]
        draws = _draws_for(rest, kept - certain)
        eps = lost + _drawn(draws, rest, sums, delta, constant)
        if eps <= best.eps:  # of equal ones that which leaves less to chance
            best = Draws(certain=certain, draws=draws, eps=eps)
    return best


def _all_stay(scores: Floats, drawable: NDArray[np.bool_], kept: int, constant: float) -> float:
    """Error where all drawable channels stay, and of the others as many as there is room for."""
    gone = scores.size - kept
    return constant * float(scores[~drawable][:gone].sum())  # floored, hence all equal


def _draws_for(rest: Floats, unique: int) -> int:
    """The smallest number of draws that holds `unique` different channels in expectation."""
    if unique == 1:
        return 1
    chances = probabilities(rest)

    def excess(log_draws: float) -> float:
        return expected_unique(chances, math.exp(log_draws)) - unique

    low = high = math.log(unique)
    while excess(high) < 0:
        high += 1
    root = low if excess(low) >= 0 else float(brentq(excess, low, high, xtol=1e-12))
    return math.ceil(math.exp(root) * (1 - 1e-9))


def _drawn(draws: int, rest: Floats, sums: int, delta: float, constant: float) -> float:
    if constant == 0:  # every sum is 0, and stays so
        return 0.0
    return epsilon(draws, float(rest.sum()), sums, delta, constant)
