"""Random ReLU features: a network of two layers of which only the second is trained."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from prunella.core.errors import InputError
from prunella.theory.correlated import (
    CorrelatedProblem,
    fitted_risks,
    make_correlated,
)
from prunella.theory.problem import Array, check_noise, check_size, check_vector
from prunella.theory.simulate import Estimate, Seed, repeat

_JITTER = 1e-10  # relative to the mean variance; features of few inputs are nearly dependent


def draw_weights(p: int, inputs: int, rng: np.random.Generator) -> Array:
    """First-layer weights (p, inputs), independent N(0, 1 / inputs)."""
    p = check_size("p", p, "the number of features")
    inputs = check_size("inputs", inputs, "the number of inputs")
    return rng.standard_normal((p, inputs)) / math.sqrt(inputs)


def feature_covariance(
    weights: Array,  # (p, inputs)
) -> Array:
    """E[relu(w_a . x) relu(w_b . x)] for x ~ N(0, I), shape (p, p): the second moment, not centred.

    |w_a| |w_b| / (2 pi) [sin t + (pi - t) cos t], where t is the angle between the two.

    Source: Cho and Saul, "Kernel methods for deep learning" (NeurIPS 2009), the arc-cosine kernel
    of order 1; docs/theory/double-descent.md, section 10.
    """
    norms = np.linalg.norm(weights, axis=1)
    cosine = np.clip(weights @ weights.T / np.outer(norms, norms), -1.0, 1.0)
    angle = np.arccos(cosine)
    moments = np.sqrt(1 - cosine**2) + (math.pi - angle) * cosine
    return np.asarray(np.outer(norms, norms) * moments / (2 * math.pi))


def random_feature_problem(
    weights: ArrayLike,  # (p, inputs)
    target: ArrayLike,  # (inputs,)
    noise: float,
    n: int,
    s: int,
) -> CorrelatedProblem:
    """The Gaussian problem with the same second moments as random features of a linear target.

    E[phi y] = W target / 2, so that the best coefficients are covariance^-1 W target / 2, and what
    they leave of E[y^2] = |target|^2 + noise^2 is noise.

    Raises:
        InputError: shapes do not fit, or a size is impossible.

    Source: docs/theory/double-descent.md, section 10.
    """
    target = check_vector("target", target)
    matrix = np.asarray(weights, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[1] != len(target) or not np.isfinite(matrix).all():
        raise InputError(
            f"weights has shape {matrix.shape} and there are {len(target)} inputs; expected finite "
            f"weights of shape (p, {len(target)})."
        )
    covariance = feature_covariance(matrix)
    covariance[np.diag_indices_from(covariance)] += _JITTER * np.trace(covariance) / len(covariance)
    seen = matrix @ target / 2
    coefficients = np.linalg.solve(covariance, seen)
    left = float(target @ target) + check_noise(noise) ** 2 - float(coefficients @ seen)
    return make_correlated(
        covariance, coefficients, math.sqrt(max(left, 0.0)), n, len(covariance), s
    )


def simulate_random_features(
    problem: CorrelatedProblem,
    weights: Array,  # (p, inputs)
    target: Array,  # (inputs,)
    noise: float,
    *,
    trials: int,
    seed: Seed,
) -> dict[str, Estimate]:
    """The seven risks with real features of Gaussian inputs; risks are exact.

    Args:
        problem: What `random_feature_problem` makes of the same weights, target and noise.
        weights: First-layer weights.
        target: Coefficients of the linear target.
        noise: Standard deviation of the label noise.
        trials: Number of training sets, at least 2.
        seed: An integer or a seed sequence.

    Raises:
        InputError: there are fewer than two trials.
    """

    def trial(rng: np.random.Generator) -> dict[str, float]:
        inputs = rng.standard_normal((problem.n, len(target)))
        y = inputs @ target + noise * rng.standard_normal(problem.n)
        return fitted_risks(problem, np.maximum(inputs @ weights.T, 0.0), y)

    return repeat(trial, trials=trials, seed=seed)
