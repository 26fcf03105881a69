"""Repair after a cut: consumers learn to do without the channels that are gone."""

from prunella.repair.memory import samples_within
from prunella.repair.reconstruct import Kind, reconstruct

__all__ = ["Kind", "reconstruct", "samples_within"]
