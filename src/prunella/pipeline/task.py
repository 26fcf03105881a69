"""What a search for the smallest network is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from prunella.bounds.checks import check_probability
from prunella.core.budgets import Budget
from prunella.core.errors import DataError, InputError
from prunella.core.levels import level
from prunella.core.types import Cost
from prunella.core.walks import RISKS, Risk, Step
from prunella.pipeline.candidates import checked_shares
from prunella.pipeline.judging import Answers
from prunella.pipeline.samples import labelled

# The start must pass on the selection samples at delta to this power: at delta = 0.01 more than two
# standard deviations below what passes. It costs a few candidates more, and no validity.
_CAUTION = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What was asked for, checked."""

    risk: Risk
    alpha: float
    delta: float
    unit: type[Budget]
    shares: tuple[float, ...]

    @staticmethod
    def checked(
        *, risk: object, alpha: float | str, delta: float, unit: object, shares: Sequence[float]
    ) -> Task:
        """The task; raise InputError where it makes no sense."""
        if risk not in RISKS:
            raise InputError(f"the risk is {risk!r}; expected one of {', '.join(RISKS)}.")
        if not (isinstance(unit, type) and issubclass(unit, Budget)) or unit is Budget:
            raise InputError(
                f"the unit is {unit!r}; expected what is to be small: Params, Flops or Bytes."
            )
        return Task(
            risk=risk,
            alpha=level("alpha", alpha),
            delta=check_probability("delta", delta),
            unit=unit,
            shares=checked_shares(shares),
        )

    @property
    def unit_words(self) -> str:
        """What shares are shares of, in words."""
        return self.unit(self.shares[0]).unit

    def require_labels(self, **loaders: Iterable[object] | None) -> None:
        """Raise DataError where the risk needs labels and a loader yields none."""
        for name, loader in loaders.items():
            if self.risk == "accuracy_drop" and loader is not None and labelled(loader) is None:
                raise DataError(
                    f"the {name} samples have no labels, which the drop of accuracy needs; give "
                    "(inputs, labels), or choose the risk 'disagreement'."
                )

    def tested(self, answers: Answers, *, share: float, cost: Cost, spent: float) -> Step:
        """The test of one candidate: it passes if the bound for its risk is at most alpha.

        Args:
            answers: On the certification samples.
            share: Of the original that the candidate may keep.
            cost: Of the candidate.
            spent: Of delta, on this test.
        """
        upper = answers.upper(self.risk, spent)
        return Step(
            share=share,
            cost=cost,
            observed=answers.observed,
            upper=upper,
            delta=spent,
            passed=upper <= self.alpha,
        )

    def promising(self, answers: Answers, tests: int) -> bool:
        """Whether a candidate would pass among so many test samples, with a margin for chance."""
        return answers.at_most(tests).upper(self.risk, self.delta**_CAUTION) <= self.alpha

    def can_start_below(self, samples: int) -> bool:
        """Whether any candidate can look safe, on so many samples."""
        return samples > 0 and self.promising(Answers(n=samples, plus=0), samples)
