"""Readers of standard data sets in their standard file formats, and the bundled samples."""

from prunella.data.bundled import bundled
from prunella.data.images import ImageSet
from prunella.data.sources import load

__all__ = ["ImageSet", "bundled", "load"]
