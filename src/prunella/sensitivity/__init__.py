"""Empirical sensitivities of channels: how much of any pre-activation one channel can make up."""

from prunella.sensitivity.collect import check_weights, sensitivities
from prunella.sensitivity.kernels import SpeedWarning

__all__ = ["SpeedWarning", "check_weights", "sensitivities"]
