"""The walk from large candidates to small ones, and what it found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from prunella.core.types import Cost

Risk = Literal["accuracy_drop", "disagreement"]
RISKS: tuple[Risk, ...] = ("accuracy_drop", "disagreement")

# Kept shares of the candidates: near each other, so that little is lost between the last that
# passes and the first that fails. Steps of 5 points, of 2.5 below a half, and of 1 below a fifth.
SHARES = tuple(
    percent / 1000
    for percent in (*range(950, 500, -50), *range(500, 200, -25), *range(200, 10, -10))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One candidate that was tested.

    Attributes:
        share: The share of the original that it may keep at most.
        cost: Its cost, exact.
        observed: Its risk on the certification samples.
        upper: Upper bound for its risk on new samples, wrong with probability `delta` at most.
        delta: What was spent on this test.
        passed: Whether `upper` is at most the level of the walk.
    """

    share: float
    cost: Cost
    observed: float
    upper: float
    delta: float
    passed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """Candidates tested one after another until one failed.

    With probability at least 1 - delta the risk of the chosen network on new samples is at most
    alpha, however many candidates there are; see `docs/theory/smallest.md`.

    Attributes:
        risk: "accuracy_drop" or "disagreement".
        unit: What the shares are shares of, for instance "parameters".
        alpha: The level: the tolerated risk.
        delta: Probability that the risk of the chosen network is above it.
        samples: Number of certification samples.
        shares: Kept shares of all candidates, from large to small, as they were fixed beforehand.
        start: Place in `shares` of the candidate that was tested first.
        steps: The tested candidates, in the order of the tests.
        chosen: Share of the chosen one; None if none passed.
    """

    risk: str
    unit: str
    alpha: float
    delta: float
    samples: int
    shares: tuple[float, ...]
    start: int
    steps: tuple[Step, ...]
    chosen: float | None

    @property
    def claim(self) -> str:
        """What is claimed of the chosen network, in words."""
        return claim(self.risk, self.alpha)

    @property
    def sign(self) -> str:
        """What stands behind a number of hundredths of the risk."""
        return "points" if self.risk == "accuracy_drop" else "%"

    @property
    def requested(self) -> str:
        """What was asked for, in words."""
        return (
            f"the fewest {self.unit} with which {self.claim}, "
            f"with {100 * (1 - self.delta):g} % confidence"
        )

    @property
    def chosen_step(self) -> Step | None:
        """The test that the chosen candidate passed."""
        return next((step for step in self.steps if step.share == self.chosen), None)


_CLAIMS = {
    "accuracy_drop": "the accuracy on new samples falls by",
    "disagreement": "the networks name different classes for",
}
_UNITS = {"accuracy_drop": "percentage points", "disagreement": "% of new samples"}


def claim(risk: str, level: float) -> str:
    """What is claimed of a network whose risk was tested at a level, in words."""
    return f"{_CLAIMS[risk]} at most {100 * level:g} {_UNITS[risk]}"
