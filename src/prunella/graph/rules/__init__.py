"""How labels pass through ATen operations; importing this package fills the registry."""

from prunella.graph.rules import contract, elementwise, movement, normalise, reduce

__all__ = ["contract", "elementwise", "movement", "normalise", "reduce"]
