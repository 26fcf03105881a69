"""Checks of arguments that every bound shares."""

from __future__ import annotations

import math
import operator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prunella.core.errors import InputError
from prunella.core.words import shown


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


def check_range(low: float, high: float) -> None:
    """Raise InputError unless low < high, both finite."""
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(
            f"the range is [{low!r}, {high!r}]; expected two finite numbers, low less than high, "
            "between which every value must lie."
        )


def check_bounded(values: ArrayLike, low: float, high: float) -> NDArray[np.float64]:
    """Return values as a float64 array (n,), or raise InputError unless all lie in [low, high]."""
    check_range(low, high)
    array = check_values(values)
    if array.min() < low or array.max() > high:
        raise InputError(
            f"values run from {array.min():g} to {array.max():g}, outside of [{low:g}, {high:g}]; "
            "the bound needs a range that holds every possible value."
        )
    return array


def check_p_values(p_values: ArrayLike) -> NDArray[np.float64]:
    """Return p-values as a float64 array (m,), or raise InputError unless all lie in [0, 1]."""
    array = np.asarray(p_values, dtype=np.float64)
    if array.ndim != 1 or not ((array >= 0) & (array <= 1)).all():
        raise InputError(
            f"p_values is {shown(p_values)}; expected one number from 0 to 1 for each hypothesis, "
            "shape (m,)."
        )
    return array
