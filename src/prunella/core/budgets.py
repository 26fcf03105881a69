"""How much of a network may be kept, in the unit that the user cares for."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

from prunella.core.errors import BudgetError
from prunella.core.types import Cost


@dataclass(frozen=True, slots=True)
class Budget(ABC):
    """A share of the original network to keep.

    Attributes:
        fraction: Kept fraction, strictly between 0 and 1.
    """

    fraction: float

    def __post_init__(self) -> None:
        if not isinstance(self.fraction, (int, float)) or not math.isfinite(self.fraction):
            raise BudgetError(
                f"{type(self).__name__}({self.fraction!r}): the kept fraction must be a number "
                "between 0 and 1, for instance 0.4 to keep 40 %."
            )
        if not 0 < self.fraction < 1:
            raise BudgetError(
                f"{type(self).__name__}({self.fraction:g}): the kept fraction must lie strictly "
                "between 0 and 1 (0 would keep nothing and 1 would remove nothing), "
                "for instance 0.4 to keep 40 %."
            )

    @property
    @abstractmethod
    def unit(self) -> str:
        """What is counted, for messages."""

    @abstractmethod
    def measure(self, cost: Cost) -> int:
        """The counted quantity of a cost."""


@final
@dataclass(frozen=True, slots=True)
class Params(Budget):
    """`Params(0.4)`: keep at most 40 % of the parameters."""

    @property
    def unit(self) -> str:
        """What is counted, for messages."""
        return "parameters"

    def measure(self, cost: Cost) -> int:
        """The number of parameters."""
        return cost.params


@final
@dataclass(frozen=True, slots=True)
class Flops(Budget):
    """`Flops(0.5)`: keep at most 50 % of the multiply-adds."""

    @property
    def unit(self) -> str:
        """What is counted, for messages."""
        return "multiply-adds"

    def measure(self, cost: Cost) -> int:
        """The number of multiply-adds."""
        return cost.macs
