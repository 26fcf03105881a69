"""How labels pass through ATen operations; importing this package fills the registry."""

from prunella.graph.rules import (
    attention,
    contract,
    elementwise,
    joining,
    movement,
    normalise,
    reduce,
)

__all__ = ["attention", "contract", "elementwise", "joining", "movement", "normalise", "reduce"]
