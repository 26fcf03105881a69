"""The same quantities by simulation: real samples, real least squares, real pruning."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from prunella.core.errors import InputError
from prunella.theory.problem import RISKS, Array, Problem, check_size
from prunella.theory.pruned import largest, oracle_support

# An integer, or a seed sequence from which every trial gets a stream of its own.
Seed = int | np.random.SeedSequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Mean of a simulated quantity and its standard error over `trials` independent trials."""

    mean: float
    standard_error: float
    trials: int


@dataclass(slots=True)
class Moments:
    """Streaming mean and sum of squared deviations (Welford's recursion), for many names."""

    count: int = 0
    means: dict[str, float] = field(default_factory=dict)
    squares: dict[str, float] = field(default_factory=dict)

    def add(self, values: Mapping[str, float]) -> None:
        """Take one trial up."""
        self.count += 1
        for name, value in values.items():
            before = self.means.get(name, 0.0)
            mean = before + (value - before) / self.count
            self.squares[name] = self.squares.get(name, 0.0) + (value - before) * (value - mean)
            self.means[name] = mean

    def estimates(self) -> dict[str, Estimate]:
        """Mean and standard error of each name; needs two trials."""
        scale = self.count * (self.count - 1)
        return {
            name: Estimate(
                mean=mean,
                standard_error=math.sqrt(self.squares[name] / scale),
                trials=self.count,
            )
            for name, mean in self.means.items()
        }


def simulate(problem: Problem, *, trials: int, seed: Seed) -> dict[str, Estimate]:
    """Means of the seven risks over independent training sets.

    The risk of each solution is computed exactly, from the true coefficients. Trial i depends on
    the seed and i only.

    Args:
        problem: The problem; features that the model does not see enter as noise, which is exact
            because they are independent of those that it sees.
        trials: Number of training sets, at least 2.
        seed: An integer or a seed sequence.

    Raises:
        InputError: there are fewer than two trials.
    """
    support = oracle_support(problem)

    def trial(rng: np.random.Generator) -> dict[str, float]:
        x, y = draw(problem, rng)
        return risks_of_sample(problem, x, y, support)

    return repeat(trial, trials=trials, seed=seed)


def repeat(
    trial: Callable[[np.random.Generator], Mapping[str, float]], *, trials: int, seed: Seed
) -> dict[str, Estimate]:
    """Means over independent trials, each with a generator of its own.

    Raises:
        InputError: there are fewer than two trials.
    """
    check_size("trials", trials, "the number of training sets", least=2)
    # A copy, since spawning counts in the sequence itself: the same seed, the same streams.
    entropy = seed.entropy if isinstance(seed, np.random.SeedSequence) else seed
    key = seed.spawn_key if isinstance(seed, np.random.SeedSequence) else ()
    root = np.random.SeedSequence(entropy, spawn_key=key)
    moments = Moments()
    for stream in root.spawn(trials):
        moments.add(trial(np.random.default_rng(stream)))
    return moments.estimates()


def draw(problem: Problem, rng: np.random.Generator) -> tuple[Array, Array]:
    """A training set: x (n, k) and y (n,)."""
    x = rng.standard_normal((problem.n, len(problem.eigenvalues))) * np.sqrt(problem.eigenvalues)
    y = x @ problem.coefficients + problem.noise * rng.standard_normal(problem.n)
    return x, y


def least_squares(
    x: Array,  # (n, k)
    y: Array,  # (n,)
) -> Array:
    """The solution of least squares (k,), of minimum norm if there are many.

    Raises:
        InputError: the samples are linearly dependent.
    """
    wide = x.shape[1] > x.shape[0]
    gram = x @ x.T if wide else x.T @ x
    try:
        factor = cho_factor(gram, check_finite=False)
    except np.linalg.LinAlgError:
        raise InputError(
            f"samples of shape {x.shape}: they are linearly dependent up to rounding; expected "
            "features with variances that differ by less than a factor of about 1e12."
        ) from None
    if wide:
        return np.asarray(x.T @ cho_solve(factor, y, check_finite=False))
    return np.asarray(cho_solve(factor, x.T @ y, check_finite=False))


def risks_of_sample(
    problem: Problem,
    x: Array,  # (n, k)
    y: Array,  # (n,)
    support: NDArray[np.bool_],  # (k,)
) -> dict[str, float]:
    """The seven risks of the solutions that one training set gives."""
    dense = least_squares(x, y)
    spread = np.sqrt(problem.eigenvalues)
    masks = {
        "magnitude": largest(np.abs(dense), problem.s),
        "hessian": largest(spread * np.abs(dense), problem.s),
        "oracle": support,
    }
    found = {"dense": _risk(problem, dense)}
    for name, mask in masks.items():
        found[name] = _risk(problem, dense * mask)
        again = np.zeros_like(dense)
        again[mask] = least_squares(x[:, mask], y)
        found[f"{name}_retrained"] = _risk(problem, again)
    return {name: found[name] for name in RISKS}


def _risk(problem: Problem, solution: Array) -> float:
    errors = problem.eigenvalues * (problem.coefficients - solution) ** 2
    return problem.noise**2 + float(errors.sum())
