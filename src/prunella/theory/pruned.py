"""Predicted risks of pruned solutions: which coefficients stay, and what that costs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr

from prunella.theory.characterize import Law
from prunella.theory.problem import Array, Problem

Rule = Literal["magnitude", "hessian"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Kept:
    """What stays, in the law of the solution: moments of r_i where it is kept, 0 elsewhere.

    Attributes:
        chance: P(i is kept), shape (k,).
        first: E[r_i; i is kept], shape (k,).
        second: E[r_i^2; i is kept], shape (k,).
    """

    chance: Array
    first: Array
    second: Array


def largest(
    scores: Array,  # (k,)
    s: int,
) -> NDArray[np.bool_]:
    """Mark the s largest scores; of equal ones those that come first."""
    mask = np.zeros(len(scores), dtype=bool)
    mask[np.argsort(-scores, kind="stable")[:s]] = True
    return mask


def oracle_support(problem: Problem) -> NDArray[np.bool_]:
    """The s features whose true coefficients times spreads are largest, as a mask (k,).

    Source: docs/theory/double-descent.md, section 3.
    """
    return largest(np.sqrt(problem.eigenvalues) * np.abs(problem.coefficients), problem.s)


def keep_support(
    problem: Problem,
    law: Law,
    support: NDArray[np.bool_],  # (k,)
) -> Kept:
    """Keep given features, chosen without the samples."""
    chance = support.astype(np.float64)
    mean = problem.coefficients
    return Kept(chance=chance, first=chance * mean, second=chance * (mean**2 + law.variance))


def keep_by_rule(problem: Problem, law: Law, rule: Rule) -> Kept:
    """Keep the s coefficients of largest |c_i r_i| (magnitude) or sqrt(l_i) |c_i r_i| (hessian).

    The threshold t solves sum_i P(c_i w_i |r_i| >= t) = s; the moments are those of a normal
    variable outside of an interval. Needs a finite gamma.

    Source: docs/theory/double-descent.md, equations (6) and (7).
    """
    mean, size = problem.coefficients, problem.s
    gain = law.shrinkage * (np.sqrt(problem.eigenvalues) if rule == "hessian" else 1.0)
    if size == len(mean) or law.gamma == 0:
        return keep_support(problem, law, largest(gain * np.abs(mean), size))
    spread = np.sqrt(law.variance)
    below, above = _ends(gain, mean, spread, size)
    chance = ndtr(below) + ndtr(-above)
    density_below, density_above = _density(below), _density(above)
    slope = density_below - density_above
    bend = below * density_below - above * density_above
    return Kept(
        chance=chance,
        first=mean * chance - spread * slope,
        second=(mean**2 + law.variance) * chance - 2 * mean * spread * slope - law.variance * bend,
    )


def keep_noise(problem: Problem, rule: Rule) -> Array:
    """The chances (k,) to be kept at p = n, where the solution is noise of infinite variance.

    Source: docs/theory/double-descent.md, section 5, "At p = n".
    """
    values, size = problem.eigenvalues, problem.s
    if size == len(values):
        return np.ones_like(values)
    gain = np.sqrt(values) if rule == "hessian" else np.ones_like(values)
    below, above = _ends(gain, np.zeros_like(values), 1 / np.sqrt(values), size)
    return np.asarray(ndtr(below) + ndtr(-above))


def _ends(gain: Array, mean: Array, spread: Array, size: int) -> tuple[Array, Array]:
    """The standardised ends of the interval outside of which a coordinate is kept."""
    centre, step = mean / spread, 1 / (gain * spread)
    scale = float(np.max((9 + np.abs(centre)) / step))

    def excess(share: float) -> float:
        level = share * scale * step
        return float(ndtr(-level - centre).sum() + ndtr(centre - level).sum()) - size

    level = brentq(excess, 0.0, 1.0, xtol=1e-14, rtol=1e-12) * scale * step
    return -level - centre, level - centre


def _density(values: Array) -> Array:
    return np.asarray(np.exp(-0.5 * values**2) / math.sqrt(2 * math.pi))


def pruned_risk(problem: Problem, law: Law, kept: Kept) -> float:
    """Risk of the solution of which only some coefficients are kept, without retraining.

    noise^2 + sum_i l_i (b_i^2 - 2 b_i c_i E[r_i; kept] + c_i^2 E[r_i^2; kept]).

    Source: docs/theory/double-descent.md, equation (8); (5) for a given support.
    """
    b, c = problem.coefficients, law.shrinkage
    errors = b**2 - 2 * b * c * kept.first + c**2 * kept.second
    return problem.noise**2 + float(np.sum(problem.eigenvalues * errors))
