"""How many draws a relative error needs, and the error that a number of draws gives.

Theorem (Bernstein's inequality; Boucheron, Lugosi and Massart, Concentration Inequalities, 2013,
corollary 2.11), applied in `docs/theory/sampling.md`, section 2: with m draws, probability at
least 1 - delta, every one of `sums` sums of non-negative contributions is estimated with relative
error at most eps, if m >= C S (6 + 2 eps) ln(2 sums / delta) / (3 eps^2).

Assumption: for the sample at hand no channel's relative contribution exceeds C times its score;
the draws are independent of that sample.
"""

from __future__ import annotations

import math

from prunella.core.errors import InputError


def _positive(name: str, value: float) -> float:
    if not (isinstance(value, (int, float)) and math.isfinite(value) and value > 0):
        raise InputError(f"{name} is {value!r}; expected a finite number greater than 0.")
    return float(value)


def _scale(total: float, sums: int, delta: float, constant: float) -> float:
    """A = C S ln(2 sums / delta)."""
    total = _positive("total", total)
    constant = _positive("constant", constant)
    if not 0 < delta < 1:
        raise InputError(f"delta is {delta!r}; expected a number strictly between 0 and 1.")
    if sums < 1:
        raise InputError(f"sums is {sums!r}; expected a count of at least 1.")
    return constant * total * math.log(2 * sums / delta)


def sample_complexity(
    eps: float, total: float, sums: int, delta: float, constant: float = 1.0
) -> float:
    """Draws that make every relative error at most eps, with probability at least 1 - delta.

    Args:
        eps: Relative error, greater than 0; may be more than 1.
        total: Sum S of the scores.
        sums: Number of (output, position, sign) sums that must all hold.
        delta: Probability that one of them does not, in (0, 1).
        constant: C, by how much a sample's relative contribution may exceed the score.

    Returns:
        A real number; round it up before drawing.

    Raises:
        InputError: an argument is out of range.
    """
    eps = _positive("eps", eps)
    return _scale(total, sums, delta, constant) * (6 + 2 * eps) / (3 * eps * eps)


def epsilon(draws: float, total: float, sums: int, delta: float, constant: float = 1.0) -> float:
    """Relative error that a number of draws guarantees; the inverse of `sample_complexity`.

    The positive root of 3 m eps^2 - 2 A eps - 6 A = 0.

    Args:
        draws: Number of draws m, greater than 0; need not be whole.
        total: Sum S of the scores.
        sums: Number of (output, position, sign) sums that must all hold.
        delta: Probability that one of them does not, in (0, 1).
        constant: C, by how much a sample's relative contribution may exceed the score.

    Returns:
        The relative error, greater than 0; falls as draws grow.

    Raises:
        InputError: an argument is out of range.
    """
    draws = _positive("draws", draws)
    ratio = _scale(total, sums, delta, constant) / draws
    return (ratio + math.sqrt(ratio * (ratio + 18))) / 3
