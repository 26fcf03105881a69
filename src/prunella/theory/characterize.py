"""The law of the least-squares solution in high dimension: three numbers say it all."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit

from prunella.theory.problem import Array, Problem


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Law:
    """Coordinate i of the solution behaves as shrinkage_i r_i, r_i ~ N(coefficients_i, variance_i).

    Attributes:
        xi: Inverse of the ridge that acts by itself; infinite up to p = n.
        shrinkage: c_i in (0, 1], shape (k,); all 1 up to p = n.
        complement: 1 - c_i, without cancellation, shape (k,).
        gamma: Effective noise variance, equal to the test risk of the dense solution.
        variance: gamma / (n eigenvalues), shape (k,).
    """

    xi: float
    shrinkage: Array
    complement: Array
    gamma: float
    variance: Array


def solve_xi(
    eigenvalues: Array,  # (k,), all positive
    n: int,
    weights: Array | None = None,  # (k,), in [0, 1]; each feature counts once if None
) -> float:
    """The root xi > 0 of sum_i weights_i xi l_i / (1 + xi l_i) = n; inf if there is none.

    The left side grows from 0 to the sum of the weights, so there is one root exactly if that sum
    exceeds n. Equal eigenvalues l have the root n / ((k - n) l); with other eigenvalues it lies
    between those of the largest and of the smallest, which brackets it.

    Source: docs/theory/double-descent.md, equation (1).
    """
    total = float(len(eigenvalues) if weights is None else weights.sum())
    if total <= n:
        return math.inf
    logs = np.log(eigenvalues)
    ends = math.log(n / (total - n)) - np.array([logs.max(), logs.min()])

    def excess(log_xi: float) -> float:
        shares = expit(log_xi + logs)
        return float(shares.sum() if weights is None else shares @ weights) - n

    return math.exp(brentq(excess, ends[0] - 1e-6, ends[1] + 1e-6, xtol=1e-14, rtol=1e-14))


def characterize(problem: Problem) -> Law:
    """Shrinkage, effective noise and the variance of each coordinate.

    gamma = [noise^2 + sum_i l_i b_i^2 (1 - c_i)^2] / [1 - sum_i c_i^2 / n], with c_i = 1 up to
    p = n; at p = n it is infinite unless there is no noise at all.

    Source: docs/theory/double-descent.md, equations (2) to (4) with their derivation.
    """
    values, n = problem.eigenvalues, problem.n
    xi = solve_xi(values, n)
    if math.isinf(xi):
        shrinkage, complement = np.ones_like(values), np.zeros_like(values)
    else:
        scaled = math.log(xi) + np.log(values)
        shrinkage, complement = expit(scaled), expit(-scaled)
    unexplained = problem.noise**2 + float(
        np.sum(values * (problem.coefficients * complement) ** 2)
    )
    # sum c^2 = sum c - sum c (1 - c); sum c is n above p = n and the number of features below.
    room = max(0.0, 1 - len(values) / n) + float(np.sum(shrinkage * complement)) / n
    gamma = 0.0
    if unexplained > 0:
        gamma = unexplained / room if room > 0 else math.inf
    return Law(
        xi=xi,
        shrinkage=shrinkage,
        complement=complement,
        gamma=gamma,
        variance=gamma / (n * values),
    )
