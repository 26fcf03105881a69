"""Checks of arguments that every bound shares."""

from __future__ import annotations

import operator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prunella.core.errors import InputError


def check_probability(name: str, value: float) -> float:
    """Return value as a float, or raise InputError unless it lies strictly between 0 and 1."""
    if isinstance(value, (int, float, np.number)) and 0 < value < 1:
        return float(value)
    raise InputError(
        f"{name} is {value!r}; expected a number strictly between 0 and 1, for instance 0.05."
    )


def check_count(name: str, value: int, *, low: int, high: int | None = None) -> int:
    """Return value as an int, or raise InputError unless it is an integer in [low, high]."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or number < low or (high is not None and number > high):
        limit = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise InputError(f"{name} is {value!r}; expected an integer {limit}.")
    return number


def check_values(values: ArrayLike) -> NDArray[np.float64]:
    """Return values as a float64 array (n,), or raise InputError if it is empty, not 1-d, or NaN.

    Infinite values pass: an order statistic is defined for them.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not array.size:
        raise InputError(
            f"values has shape {array.shape}; expected one number for each sample, shape (n,) "
            "with n of at least 1."
        )
    if np.isnan(array).any():
        raise InputError(
            f"values holds {int(np.isnan(array).sum())} NaN among {array.size}; expected numbers. "
            "Find out where they come from; leaving them out would make the bound invalid."
        )
    return array
