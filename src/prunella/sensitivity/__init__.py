"""Empirical sensitivities of channels: how much of any pre-activation one channel can make up."""

from prunella.sensitivity.collect import check_weights, sensitivities
from prunella.sensitivity.kernels import SpeedWarning
from prunella.sensitivity.resuming import PassState, PassStore

__all__ = ["PassState", "PassStore", "SpeedWarning", "check_weights", "sensitivities"]
