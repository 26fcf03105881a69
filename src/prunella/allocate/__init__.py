"""How many units of each group to keep so that a budget is met."""

from prunella.allocate.cost import CostModel
from prunella.allocate.solve import (
    DELTA,
    Allocation,
    one_threshold,
    shared_error,
    topped_up,
    uniform,
)

__all__ = [
    "DELTA",
    "Allocation",
    "CostModel",
    "one_threshold",
    "shared_error",
    "topped_up",
    "uniform",
]
