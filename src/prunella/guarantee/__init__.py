"""A-priori bounds: what provable filter pruning promises of a plan before anything is cut."""

from prunella.guarantee.build import a_priori
from prunella.guarantee.results import AprioriBounds, ChainLayer, CutBound, GroupBound, NetworkBound

__all__ = ["AprioriBounds", "ChainLayer", "CutBound", "GroupBound", "NetworkBound", "a_priori"]
