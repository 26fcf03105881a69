"""Cost, run time and accuracy of a network."""

from prunella.measure.accuracy import accuracy
from prunella.measure.cost import cost
from prunella.measure.latency import compare_latency

__all__ = ["accuracy", "compare_latency", "cost"]
