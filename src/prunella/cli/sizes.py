"""How small a network is asked to be: a budget, or what may be lost."""

from __future__ import annotations

from typing import Any

from prunella.cli.config import PruneConfig
from prunella.core.errors import InputError
from prunella.core.levels import confidence as confidence_of


def delta_of(delta: float | None, given: str | None) -> float | None:
    """The probability of a wrong bound, of which one may give the complement.

    Raises:
        InputError: both were given, or no confidence.
    """
    if given is None:
        return delta
    if delta is not None:
        raise InputError(
            f"got --delta {delta:g} and --confidence {given}, which say the same; give one of them."
        )
    return round(1 - confidence_of("--confidence", given), 12)


def how_small(settings: PruneConfig) -> dict[str, Any]:
    """What `prune` or `smallest` is told besides what both are told."""
    tolerance = settings.tolerance
    if tolerance is None:
        return {"budget": settings.budget, "alpha": settings.alpha}
    risk, level = tolerance
    return {
        "risk": risk,
        "alpha": level,
        "unit": settings.unit,
        "outputs_alpha": settings.alpha,
    }
