"""How many units of each group to keep so that a budget is met."""

from prunella.allocate.cost import CostModel
from prunella.allocate.solve import Allocation, shared_error, uniform

__all__ = ["Allocation", "CostModel", "shared_error", "uniform"]
