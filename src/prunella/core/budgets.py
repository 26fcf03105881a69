"""How much of a network may be kept, in the unit that the user cares for."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

from prunella.core.errors import BudgetError
from prunella.core.types import Cost


@dataclass(frozen=True, slots=True)
class Share(ABC):
    """A share of something of the original network that may be kept.

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


class Budget(Share):
    """A share of a cost that the graph knows exactly: no network is run."""

    __slots__ = ()

    @property
    def words(self) -> str:
        """The request in words."""
        return f"at most {100 * self.fraction:g} % of the {self.unit}"

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


@final
@dataclass(frozen=True, slots=True)
class Bytes(Budget):
    """`Bytes(0.5)`: keep at most 50 % of the bytes of all parameters and buffers."""

    @property
    def unit(self) -> str:
        """What is counted, for messages."""
        return "bytes"

    def measure(self, cost: Cost) -> int:
        """The number of bytes."""
        return cost.bytes


@final
@dataclass(frozen=True, slots=True)
class Latency(Share):
    """`Latency(0.6)`: run in at most 60 % of the time, measured on the model's device.

    Attributes:
        batch: Samples that are run at once.
    """

    batch: int = 1

    def __post_init__(self) -> None:
        super(
            Latency, self
        ).__post_init__()  # `slots` makes a new class, which plain super() misses
        if not isinstance(self.batch, int) or self.batch < 1:
            raise BudgetError(
                f"Latency({self.fraction:g}, batch={self.batch!r}): the batch must be a whole "
                "number of samples, at least 1."
            )

    @property
    def words(self) -> str:
        """The request in words."""
        return f"at most {100 * self.fraction:g} % of the run time with a batch of {self.batch}"
