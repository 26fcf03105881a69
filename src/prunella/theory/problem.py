"""A regression problem of the theory, and what is predicted of it."""

from __future__ import annotations

import operator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prunella.core.errors import InputError
from prunella.core.words import shown

Array = NDArray[np.float64]

_MOST = 1e100  # of noise and of signal: their squares, and products of those, are finite

# The estimators, in the order of every table.
RISKS = (
    "dense",
    "magnitude",
    "hessian",
    "oracle",
    "magnitude_retrained",
    "hessian_retrained",
    "oracle_retrained",
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Problem:
    """Least squares on p features out of more, pruned to s, with n samples.

    The samples are x ~ N(0, diag(eigenvalues)) and y = x . coefficients + noise z. The model sees
    the first p features; what it does not see acts as more noise. Features without any variance
    are left out: their coefficients cannot be estimated, and the minimum-norm solution sets them
    to 0.

    Attributes:
        eigenvalues: Variances of the features that the model sees, all positive, shape (k,).
        coefficients: Their true coefficients, shape (k,).
        noise: Standard deviation of what the model cannot explain: label noise and features that
            it does not see.
        n: Number of samples.
        p: Number of features asked for; k is p less those without variance.
        s: Number of coefficients that pruning keeps, at most k.

    Source: Chang, Li, Oymak, Thrampoulidis, "Provable benefits of overparameterization in model
    compression" (AAAI 2021, arXiv 2012.08749), the setting; docs/theory/double-descent.md, 1.
    """

    eigenvalues: Array  # (k,)
    coefficients: Array  # (k,)
    noise: float
    n: int
    p: int
    s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Expected squared errors on a new sample, label noise included, in the units of y squared.

    Attributes:
        dense: Of the least-squares solution (the one of minimum norm if it is not unique).
        magnitude: Of the s coefficients that are largest.
        hessian: Of the s coefficients that are largest times the spread of their features.
        oracle: Of the s coefficients whose true values times spreads are largest.
        magnitude_retrained: Least squares on the features that `magnitude` keeps, same samples.
        hessian_retrained: The same for `hessian`.
        oracle_retrained: The same for `oracle`: a small model whose features are known to be best.
        gamma: Effective noise variance; equal to `dense`.
        xi: Inverse of the ridge that acts by itself; infinite up to p = n.
    """

    dense: float
    magnitude: float
    hessian: float
    oracle: float
    magnitude_retrained: float
    hessian_retrained: float
    oracle_retrained: float
    gamma: float
    xi: float

    def risks(self) -> dict[str, float]:
        """The seven risks by name."""
        return {name: getattr(self, name) for name in RISKS}


def make_problem(
    eigenvalues: ArrayLike,  # (d,)
    coefficients: ArrayLike,  # (d,)
    noise: float,
    n: int,
    p: int,
    s: int,
) -> Problem:
    """Check the numbers of a problem and reduce it to what a model of p features sees.

    Raises:
        InputError: a shape, a sign or a size is impossible; the message says which.
    """
    eigenvalues, coefficients = check_spectrum(eigenvalues, coefficients)
    noise = check_noise(noise)
    n = check_size("n", n, "the number of samples")
    p = check_size("p", p, "the number of features of the model", most=len(eigenvalues))
    s = check_size("s", s, "the number of coefficients to keep, at most p", most=p)
    hidden = float(np.sum(eigenvalues[p:] * coefficients[p:] ** 2))
    seen = eigenvalues[:p] > 0
    if not seen.any():
        raise InputError(
            f"eigenvalues: the first {p} are all 0, so that the model sees nothing; expected at "
            "least one positive variance among them."
        )
    return Problem(
        eigenvalues=eigenvalues[:p][seen],
        coefficients=coefficients[:p][seen],
        noise=float(np.sqrt(noise**2 + hidden)),
        n=n,
        p=p,
        s=min(s, int(seen.sum())),
    )


def check_spectrum(eigenvalues: ArrayLike, coefficients: ArrayLike) -> tuple[Array, Array]:
    """Variances and coefficients as float64 arrays (d,), or raise InputError."""
    values = check_vector("eigenvalues", eigenvalues)
    signal = check_vector("coefficients", coefficients)
    if values.shape != signal.shape:
        raise InputError(
            f"eigenvalues has {len(values)} entries and coefficients {len(signal)}; expected one "
            "of each for every feature."
        )
    if (values < 0).any():
        place = int(np.argmax(values < 0))
        raise InputError(
            f"eigenvalues[{place}] is {values[place]:g}; expected variances of features, which "
            "are positive (features of variance 0 are left out)."
        )
    if not values.any():
        raise InputError("eigenvalues are all 0; expected at least one positive variance.")
    with np.errstate(over="ignore"):
        power = float(np.sum(values) * (1 + np.sum(signal**2)))
    if not power < _MOST:
        raise InputError(
            f"eigenvalues up to {values.max():g} and coefficients up to {np.abs(signal).max():g} "
            "are too large to be computed with; give them in larger units."
        )
    return values, signal


def check_vector(name: str, values: ArrayLike) -> Array:
    """A float64 array (d,) of finite numbers, or raise InputError."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name} is {shown(values)}; expected numbers, shape (d,).") from None
    if array.ndim != 1 or not array.size:
        raise InputError(
            f"{name} has shape {array.shape}; expected one number for each feature, shape (d,)."
        )
    if not np.isfinite(array).all():
        place = int(np.argmax(~np.isfinite(array)))
        raise InputError(f"{name}[{place}] is {array[place]}; expected finite numbers only.")
    return array


def check_noise(noise: float) -> float:
    """A standard deviation, finite and not negative, or raise InputError."""
    try:
        value = float(noise)
    except (TypeError, ValueError):
        value = np.nan
    if not 0 <= value < _MOST:
        raise InputError(
            f"noise is {shown(noise)}; expected the standard deviation of the label noise, a "
            f"number from 0 to {_MOST:g}."
        )
    return value


def check_size(name: str, value: int, what: str, *, least: int = 1, most: int | None = None) -> int:
    """An integer from `least` to `most`, or raise InputError."""
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least or (most is not None and number > most):
        limit = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise InputError(f"{name} is {shown(value)}; expected {what}, an integer {limit}.")
    return number
