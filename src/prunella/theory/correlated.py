"""Correlated features: the same law, from which solutions are drawn and pruned."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import cho_factor, cho_solve

from prunella.core.errors import InputError
from prunella.core.words import shown
from prunella.theory.characterize import characterize
from prunella.theory.problem import (
    RISKS,
    Array,
    Problem,
    check_noise,
    check_size,
    check_vector,
)
from prunella.theory.pruned import largest
from prunella.theory.simulate import Estimate, Moments, Seed, least_squares, repeat

_RULES = ("magnitude", "hessian", "oracle")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CorrelatedProblem:
    """As `Problem`, but the samples are x ~ N(0, covariance).

    Attributes:
        covariance: Of the features that the model sees, positive definite, shape (p, p).
        coefficients: True coefficients, or those of the best linear predictor, shape (p,).
        noise: Standard deviation of what that predictor leaves unexplained.
        n: Number of samples, other than p.
        s: Number of coefficients to keep, less than n.
        values: Eigenvalues of the covariance, rising, shape (p,).
        vectors: Its eigenvectors as columns, shape (p, p).
    """

    covariance: Array  # (p, p)
    coefficients: Array  # (p,)
    noise: float
    n: int
    s: int
    values: Array  # (p,)
    vectors: Array  # (p, p)


def make_correlated(
    covariance: ArrayLike,  # (d, d)
    coefficients: ArrayLike,  # (d,)
    noise: float,
    n: int,
    p: int,
    s: int,
) -> CorrelatedProblem:
    """Check the numbers and reduce them to a model of the first p features.

    The others are replaced by their best linear prediction from those p, and what that leaves is
    noise: its variance is that of the Schur complement.

    Raises:
        InputError: the covariance is not symmetric and positive definite, a shape does not fit,
            p is n, s is not less than n, or nothing is noise with p below n.

    Source: docs/theory/double-descent.md, section 8.
    """
    signal = check_vector("coefficients", coefficients)
    matrix = _check_covariance(covariance, len(signal))
    noise = check_noise(noise)
    n = check_size("n", n, "the number of samples", least=3)
    p = check_size("p", p, "the number of features of the model", most=len(signal))
    s = check_size("s", s, "the number of coefficients to keep", most=min(p, n - 1))
    if p == n:
        raise InputError(
            f"p is {p}, the number of samples: every solution has infinite risk there, and none "
            "can be drawn; give another size."
        )
    seen = matrix[:p, :p]
    hidden = matrix[:p, p:] @ signal[p:]
    moved = np.linalg.solve(seen, hidden)
    left = float(signal[p:] @ matrix[p:, p:] @ signal[p:] - hidden @ moved)
    noise = math.sqrt(noise**2 + max(left, 0.0))
    if noise == 0 and p < n:
        raise InputError(
            f"noise is 0 and {p} features of {n} samples explain all labels: every training set "
            "gives the true coefficients, so nothing is drawn; give a noise above 0."
        )
    values, vectors = np.linalg.eigh(seen)
    return CorrelatedProblem(
        covariance=seen,
        coefficients=signal[:p] + moved,
        noise=noise,
        n=n,
        s=s,
        values=values,
        vectors=vectors,
    )


def _check_covariance(covariance: ArrayLike, d: int) -> Array:
    try:
        matrix = np.asarray(covariance, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"covariance is {shown(covariance)}; expected a matrix (d, d).") from None
    if matrix.shape != (d, d):
        raise InputError(
            f"covariance has shape {matrix.shape} and there are {d} coefficients; expected shape "
            f"({d}, {d})."
        )
    if not np.isfinite(matrix).all() or not np.allclose(matrix, matrix.T, rtol=1e-9, atol=0):
        raise InputError("covariance is not finite and symmetric; expected a covariance matrix.")
    least = float(np.linalg.eigvalsh(matrix)[0])
    if least <= 0:
        raise InputError(
            f"covariance has the eigenvalue {least:g}; expected positive ones only. For features "
            "of rank one there is rank_one_risks; else remove features that others determine."
        )
    return matrix


def sampled_risks(problem: CorrelatedProblem, *, draws: int, seed: Seed) -> dict[str, Estimate]:
    """Predicted risks, averaged over solutions drawn from their asymptotic law.

    A drawn solution is A b + sqrt(gamma / n) L h, h ~ N(0, I); it is pruned as a real one would
    be, and its risk is exact. Retraining is the two-stage state evolution of `retrain` for
    functions that do not separate into coordinates. Its averages are over the same draws, and its
    standard error is nan: the draws enter it through the solution of equations.

    Raises:
        InputError: there are fewer than two draws.

    Source: docs/theory/double-descent.md, section 8.
    """
    values, vectors, n = problem.values, problem.vectors, problem.n
    law = characterize(
        Problem(
            eigenvalues=values,
            coefficients=vectors.T @ problem.coefficients,
            noise=problem.noise,
            n=n,
            p=len(values),
            s=problem.s,
        )
    )
    stages = {rule: _Second(problem, law.gamma) for rule in _RULES}
    masks = _Masks(problem)

    def trial(rng: np.random.Generator) -> dict[str, float]:
        # In the basis of the eigenvectors the coordinates are independent, as in the diagonal case.
        error = vectors @ (np.sqrt(law.variance) * rng.standard_normal(len(values)))
        first = problem.coefficients + error  # r_1
        solution = vectors @ (law.shrinkage * (vectors.T @ first))
        found = {"dense": risk(problem, solution)}
        for rule, mask in masks.of(solution).items():
            found[rule] = risk(problem, solution * mask)
            stages[rule].add(mask, error, first, solution)
        return found

    estimates = repeat(trial, trials=draws, seed=seed)
    for rule, stage in stages.items():
        estimates[f"{rule}_retrained"] = Estimate(
            mean=stage.risk(), standard_error=math.nan, trials=draws
        )
    return {name: estimates[name] for name in RISKS}


def simulate_correlated(
    problem: CorrelatedProblem, *, trials: int, seed: Seed
) -> dict[str, Estimate]:
    """Means of the seven risks over real training sets.

    Raises:
        InputError: there are fewer than two trials.
    """
    root = problem.vectors * np.sqrt(problem.values)
    masks = _Masks(problem)

    def trial(rng: np.random.Generator) -> dict[str, float]:
        x = rng.standard_normal((problem.n, len(root))) @ root.T
        y = x @ problem.coefficients + problem.noise * rng.standard_normal(problem.n)
        return fitted_risks(problem, x, y, masks)

    return repeat(trial, trials=trials, seed=seed)


class _Masks:
    """What each rule keeps of a solution."""

    def __init__(self, problem: CorrelatedProblem) -> None:
        self.spread = np.sqrt(np.diag(problem.covariance))
        self.size = problem.s
        self.oracle = largest(self.spread * np.abs(problem.coefficients), self.size)

    def of(self, solution: Array) -> dict[str, NDArray[np.bool_]]:
        """Masks (p,) by the name of the rule."""
        return {
            "magnitude": largest(np.abs(solution), self.size),
            "hessian": largest(self.spread * np.abs(solution), self.size),
            "oracle": self.oracle,
        }


def fitted_risks(
    problem: CorrelatedProblem,
    x: Array,  # (n, p)
    y: Array,  # (n,)
    masks: _Masks | None = None,
) -> dict[str, float]:
    """The seven risks of the solutions that one training set gives."""
    dense = least_squares(x, y)
    found = {"dense": risk(problem, dense)}
    for rule, mask in (masks or _Masks(problem)).of(dense).items():
        found[rule] = risk(problem, dense * mask)
        again = np.zeros_like(dense)
        again[mask] = least_squares(x[:, mask], y)
        found[f"{rule}_retrained"] = risk(problem, again)
    return {name: found[name] for name in RISKS}


def risk(
    problem: CorrelatedProblem,
    solution: Array,  # (p,)
) -> float:
    """noise^2 + (b - solution)^T covariance (b - solution)."""
    error = problem.coefficients - solution
    return problem.noise**2 + float(error @ problem.covariance @ error)


class _Second:
    """The second stage for one rule: averages over draws of the first, then two linear equations.

    On the support S the retrained solution is u_0 + rho u_1 - a u_2 + noise, all three projected
    by covariance_SS^-1 covariance_S: of the truth, of the first stage's error, and (for u_2) of
    the residual that the first stage's ridge has left.
    """

    def __init__(self, problem: CorrelatedProblem, gamma: float) -> None:
        self.problem = problem
        self.gamma = gamma
        self.moments = Moments()

    def add(
        self,
        mask: NDArray[np.bool_],  # (p,)
        error: Array,  # (p,), r_1 - b
        first: Array,  # (p,), r_1
        solution: Array,  # (p,), before pruning
    ) -> None:
        """Take one draw up."""
        matrix, b = self.problem.covariance, self.problem.coefficients
        rows = matrix[mask]
        targets = np.stack([rows @ b, rows @ error, rows @ (first - solution)], axis=1)
        parts = cho_solve(cho_factor(rows[:, mask]), targets)  # (s, 3)
        back = rows.T @ parts  # covariance u, (p, 3)
        to_error, to_truth = error @ back, (solution - b) @ back
        names = {f"error{i}": to_error[i] for i in range(3)}
        names |= {f"truth{i}": to_truth[i] for i in range(3)}
        names["rest"] = float((solution - b) @ matrix @ b)
        names |= {f"b{i}": float(b @ back[:, i]) for i in range(3)}
        gram = parts.T @ targets  # u_i^T covariance u_j
        names |= {f"u{i}{j}": float(gram[i, j]) for i in range(3) for j in range(3)}
        self.moments.add(names)

    def risk(self) -> float:
        """Gamma_22, from the averages so far."""
        problem, gamma, m = self.problem, self.gamma, self.moments.means
        unexplained, share = problem.noise**2, problem.s / problem.n
        matrix = np.array(
            [
                [gamma - m["truth1"], m["truth2"]],
                [gamma * share - m["error1"], gamma * (1 - share) + m["error2"]],
            ]
        )
        known = np.array([unexplained - m["rest"] + m["truth0"], m["error0"]])
        overlap, memory = np.linalg.solve(matrix, known)
        weights = np.array([1.0, overlap, -memory])
        size = float(problem.coefficients @ problem.covariance @ problem.coefficients)
        cross = sum(weights[i] * m[f"b{i}"] for i in range(3))
        square = sum(weights[i] * weights[j] * m[f"u{i}{j}"] for i in range(3) for j in range(3))
        shared = overlap**2 * gamma
        total = unexplained + size - 2 * cross + square
        return float(max((total - shared * share) / (1 - share), shared))
