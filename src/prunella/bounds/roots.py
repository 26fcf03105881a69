"""Roots of monotone functions, rounded to the safe side."""

from __future__ import annotations

from collections.abc import Callable

from scipy.optimize import brentq

STEP = 1e-10  # bounds are rounded up to within this


def root_from_above(function: Callable[[float], float], below: float, above: float) -> float:
    """A number at most `STEP` above the root of a monotone function, never below it."""
    root = float(brentq(function, below, above, xtol=STEP / 4, rtol=1e-12))
    return min(above, root + STEP / 2)
