"""Repair after a cut: consumers learn to do without the channels that are gone."""

from prunella.repair.reconstruct import reconstruct

__all__ = ["reconstruct"]
