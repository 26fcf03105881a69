"""Readers of standard data sets in their standard file formats, and the bundled samples."""

from prunella.data.images import ImageSet

__all__ = ["ImageSet"]
