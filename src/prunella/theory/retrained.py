"""Predicted risks after retraining: least squares on the kept features, with the same samples."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prunella.theory.characterize import Law, characterize, solve_xi
from prunella.theory.problem import Array, Problem
from prunella.theory.pruned import Kept, Rule, keep_noise


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrained:
    """The fixed point of the two-stage state evolution.

    Attributes:
        risk: Gamma_22, the risk of the retrained solution.
        overlap: rho = Gamma_12 / Gamma_11, how much of the first solution's noise comes back.
        memory: a, the weight of the first solution's residual in the second.
    """

    risk: float
    overlap: float
    memory: float


def support_risk(
    problem: Problem,
    support: NDArray[np.bool_],  # (k,)
) -> float:
    """Risk of least squares on given features, chosen without the samples.

    The other features are noise. Up to s = n that is (noise^2 + sum_{i not in S} l_i b_i^2) /
    (1 - s / n); beyond it is the minimum-norm solution on S.

    Source: docs/theory/double-descent.md, equation (9).
    """
    values, signal = problem.eigenvalues, problem.coefficients
    left = float(np.sum((values * signal**2)[~support]))
    size = int(support.sum())
    small = Problem(
        eigenvalues=values[support],
        coefficients=signal[support],
        noise=math.sqrt(problem.noise**2 + left),
        n=problem.n,
        p=size,
        s=size,
    )
    return characterize(small).gamma


def retrain(problem: Problem, law: Law, kept: Kept) -> Retrained:
    """Risk of least squares on features that the same samples have chosen.

    The unknowns (rho, a) solve two linear equations and Gamma_22 a third, so that nothing is
    iterated. Needs 0 < gamma < inf and s other than n. The map is derived heuristically
    (approximate message passing); the comparisons with simulation are its evidence.

    Source: docs/theory/double-descent.md, equations (10) to (14) with their derivation.
    """
    b, c, h, gamma = problem.coefficients, law.shrinkage, law.complement, law.gamma
    chance, first, second = kept.chance, kept.first, kept.second
    c2, active, active_squares = _second_shrinkage(problem, chance)
    weight = problem.eigenvalues * c2
    noise = first - b * chance  # E[r - b; kept]
    product = second - b * first  # E[r (r - b); kept]
    unexplained = problem.noise**2
    matrix = np.array(
        [
            [
                gamma - np.sum(weight * (c * product - b * noise)),
                np.sum(weight * h * (c * second - b * first)),
            ],
            [
                gamma * active - np.sum(weight * (product - b * noise)),
                gamma * (1 - active) + np.sum(weight * h * product),
            ],
        ]
    )
    values = problem.eigenvalues
    known = np.array(
        [
            unexplained + np.sum(values * b**2 * h + weight * b * (c * first - b * chance)),
            np.sum(weight * b * noise),
        ]
    )
    # Where everything is kept beyond p = n, retraining changes nothing and a has no meaning: the
    # second equation is 0 = 0, and the shortest solution is rho = 1, a = 0.
    overlap, memory = (float(x) for x in np.linalg.lstsq(matrix, known, rcond=1e-12)[0])
    constant, slope = b * (1 - overlap), overlap - memory * h
    mean = c2 * (constant * chance + slope * first)
    square = c2**2 * (constant**2 * chance + 2 * constant * slope * first + slope**2 * second)
    shared = overlap**2 * gamma
    errors = float(np.sum(values * (b**2 - 2 * b * mean + square)))
    risk = (unexplained + errors - shared * active_squares) / (1 - active_squares)
    # Gamma_11 Gamma_22 >= Gamma_12^2; rounding may say otherwise.
    return Retrained(risk=max(risk, shared), overlap=overlap, memory=memory)


def retrained_risk(problem: Problem, law: Law, kept: Kept | None, rule: Rule) -> float:
    """Risk after retraining on what a rule has kept, at any p and s.

    Args:
        problem: The problem.
        law: Its law.
        kept: What the rule keeps; None at p = n, where gamma is infinite.
        rule: The rule, for that case.

    Source: docs/theory/double-descent.md, section 5.
    """
    if problem.s == problem.n:
        return math.inf if law.gamma > 0 else 0.0
    if kept is None:
        chance = keep_noise(problem, rule)
        lost = float(np.sum(problem.eigenvalues * problem.coefficients**2 * (1 - chance)))
        return (problem.noise**2 + lost) / (1 - problem.s / problem.n)
    if law.gamma == 0:
        return support_risk(problem, kept.chance > 0)
    return retrain(problem, law, kept).risk


def _second_shrinkage(problem: Problem, chance: Array) -> tuple[Array, float, float]:
    """Shrinkage (k,) of the second solution, and sums of it and of its square over kept ones / n.

    Up to s = n nothing is shrunk; beyond, the minimum-norm solution shrinks as in equation (2),
    with the expected number of kept features.
    """
    n, values = problem.n, problem.eigenvalues
    if problem.s < n:
        return np.ones_like(values), problem.s / n, problem.s / n
    scaled = solve_xi(values, n, chance) * values
    c2 = scaled / (1 + scaled)
    return c2, 1.0, float(np.sum(c2**2 * chance)) / n
