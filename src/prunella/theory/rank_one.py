"""The limit of full correlation: every feature is a multiple of one variable."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from prunella.core.errors import InputError
from prunella.theory.problem import Array, check_noise, check_size, check_vector
from prunella.theory.pruned import largest
from prunella.theory.simulate import Estimate, Seed, repeat


@dataclass(frozen=True, slots=True, kw_only=True)
class RankOneRisks:
    """Risks where the covariance is l l^T.

    Attributes:
        dense: Of the minimum-norm solution; that of any retrained one, too.
        pruned: Of the s largest coefficients, not retrained.
        kept: Share of |l|^2 that they hold.
    """

    dense: float
    pruned: float
    kept: float


def rank_one_risks(
    loadings: ArrayLike,  # (d,)
    coefficients: ArrayLike,  # (d,)
    noise: float,
    n: int,
    s: int,
) -> RankOneRisks:
    """Exact risks at finite n; magnitude and Hessian rules choose the largest loadings alike.

    dense = noise^2 (1 + 1 / (n - 2)), pruned = noise^2 + (1 - k)^2 (l . b)^2 + k^2 noise^2 /
    (n - 2), where k is the kept share of |l|^2.

    Raises:
        InputError: shapes do not fit, n is less than 3, or the loadings are all 0.

    Source: docs/theory/double-descent.md, section 9.
    """
    load, b, noise, s = _checked(loadings, coefficients, noise, s)
    n = check_size("n", n, "the number of samples", least=3)
    share = float(np.sum(load[largest(np.abs(load), s)] ** 2) / np.sum(load**2))
    slope = float(load @ b)
    error = noise**2 / (n - 2)
    return RankOneRisks(
        dense=noise**2 + error,
        pruned=noise**2 + (1 - share) ** 2 * slope**2 + share**2 * error,
        kept=share,
    )


def simulate_rank_one(
    loadings: ArrayLike,  # (d,)
    coefficients: ArrayLike,  # (d,)
    noise: float,
    n: int,
    s: int,
    *,
    trials: int,
    seed: Seed,
) -> dict[str, Estimate]:
    """The same by simulation: "dense", "pruned" and "retrained".

    Raises:
        InputError: as for `rank_one_risks`; there are fewer than two trials.
    """
    load, b, noise, s = _checked(loadings, coefficients, noise, s)
    n = check_size("n", n, "the number of samples", least=3)

    def trial(rng: np.random.Generator) -> dict[str, float]:
        g = rng.standard_normal(n)
        x = np.outer(g, load)
        y = x @ b + noise * rng.standard_normal(n)
        dense = np.linalg.pinv(x) @ y
        mask = largest(np.abs(dense), s)
        again = np.linalg.pinv(x[:, mask]) @ y
        errors = {
            "dense": load @ (b - dense),
            "pruned": load @ (b - dense * mask),
            "retrained": load @ b - load[mask] @ again,
        }
        return {name: noise**2 + float(error) ** 2 for name, error in errors.items()}

    return repeat(trial, trials=trials, seed=seed)


def _checked(
    loadings: ArrayLike, coefficients: ArrayLike, noise: float, s: int
) -> tuple[Array, Array, float, int]:
    load = check_vector("loadings", loadings)
    b = check_vector("coefficients", coefficients)
    if load.shape != b.shape:
        raise InputError(
            f"loadings has {len(load)} entries and coefficients {len(b)}; expected one of each for "
            "every feature."
        )
    if not load.any():
        raise InputError("loadings are all 0; expected at least one other number.")
    return load, b, check_noise(noise), check_size("s", s, "the number to keep", most=len(load))
