"""Repair after a cut: consumers learn to do without the channels that are gone."""

from prunella.repair.needs import Needs, needs_of
from prunella.repair.reconstruct import Kind, cut_consumers, reconstruct

__all__ = ["Kind", "Needs", "cut_consumers", "needs_of", "reconstruct"]
