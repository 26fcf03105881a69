"""Cost, run time, accuracy and robustness of a network."""

from prunella.measure.accuracy import accuracy
from prunella.measure.cost import cost
from prunella.measure.latency import compare_latency
from prunella.measure.robustness import robustness

__all__ = ["accuracy", "compare_latency", "cost", "robustness"]
