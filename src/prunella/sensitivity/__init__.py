"""Empirical sensitivities of channels: how much of any pre-activation one channel can make up."""

from prunella.sensitivity.collect import check_weights, sensitivities

__all__ = ["check_weights", "sensitivities"]
