"""Axes with channels that the model divides into parts whose sizes are numbers in its code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from prunella.graph.call import Call
    from prunella.graph.labels import Labels


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Split:
    """One division of an axis.

    Attributes:
        module: Dotted name of the module whose code did it.
        parts: Labels of each part.
        axis: The axis.
        reason: Why parts of unequal size are frozen, if nothing tells how they follow a cut.
    """

    module: str
    parts: tuple[Tensor, ...]
    axis: int
    reason: str

    @property
    def sizes(self) -> tuple[int, ...]:
        """Positions of each part."""
        return tuple(part.shape[self.axis] for part in self.parts)

    @property
    def is_equal(self) -> bool:
        """Whether all parts have the same size."""
        return len(set(self.sizes)) == 1


def note_split(parts: Sequence[Tensor], axis: int, call: Call, labels: Labels) -> Split | None:
    """Remember a division whose sizes a module may keep; None for another kind of operation.

    Parts of one size given by one number, the last part the rest, are no list of sizes.
    """
    reason = f"parts of fixed, unequal size ({call.operation}) at {call.where()}"
    found = Split(module=call.module(), parts=tuple(parts), axis=axis, reason=reason)
    wanted = call.operation == "split_with_sizes" or (call.operation == "split" and found.is_equal)
    if not wanted or len(parts) < 2:
        return None
    labels.splits.append(found)
    return found
