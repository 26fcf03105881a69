"""Prediction and simulation side by side, with a verdict on every pair."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from prunella.core.errors import InputError
from prunella.theory.simulate import Estimate

STANDARD_ERRORS = 4.0
_ROUNDING = 1e-12  # of risks that are 0, as without noise
RELATIVE = 0.03  # the theory is a limit, and samples are 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One prediction and its simulation.

    Attributes:
        name: Of the quantity.
        predicted: By the theory.
        simulated: Mean of the simulation.
        standard_error: Of that mean.
        trials: Training sets simulated.
    """

    name: str
    predicted: float
    simulated: float
    standard_error: float
    trials: int

    @property
    def errors_apart(self) -> float:
        """Prediction less simulation in standard errors of the simulation."""
        return _share(self.predicted - self.simulated, self.standard_error)

    @property
    def relative(self) -> float:
        """Prediction less simulation as a share of the simulation."""
        return _share(self.predicted - self.simulated, self.simulated)

    @property
    def passed(self) -> bool:
        """Whether they are within 4 standard errors or within 3 %."""
        apart = abs(self.predicted - self.simulated)
        allowed = max(STANDARD_ERRORS * self.standard_error, RELATIVE * abs(self.simulated))
        return apart <= max(allowed, _ROUNDING)


def _share(difference: float, of: float) -> float:
    """Infinite, or 0 where there is no difference, where it cannot be divided by 0."""
    if of == 0:
        return math.copysign(math.inf, difference) if difference else 0.0
    return difference / of


def compare(
    predicted: Mapping[str, float], simulated: Mapping[str, Estimate]
) -> tuple[Comparison, ...]:
    """Compare what was simulated with the predictions of the same names.

    Raises:
        InputError: a simulated quantity has no prediction.
    """
    missing = [name for name in simulated if name not in predicted]
    if missing:
        raise InputError(
            f"simulated: {', '.join(missing)} has no prediction among {', '.join(predicted)}; "
            "expected the same names in both."
        )
    return tuple(
        Comparison(
            name=name,
            predicted=predicted[name],
            simulated=estimate.mean,
            standard_error=estimate.standard_error,
            trials=estimate.trials,
        )
        for name, estimate in simulated.items()
    )
