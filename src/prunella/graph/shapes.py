"""What the run noted about shapes, made sure of by further ties before groups are formed."""

from __future__ import annotations

import torch
from torch import Tensor

from prunella.graph.labels import FIXED, Labels
from prunella.graph.layout import compact


def keep_shapes(labels: Labels) -> None:
    """Tie or freeze until every block of axes stays full and every fixed axis keeps its length."""
    _decide_later(labels)
    again = True
    while again:
        again = False
        for grid in labels.grids:
            again |= _fill_grid(grid, labels)
    for known, axes, reason in labels.whole:
        if labels.constant_along(known, axes) is None:
            labels.freeze(known, reason)
    for known, axes in labels.mixed:
        if labels.constant_along(known, axes) is None:
            labels.inexact.update(torch.unique(compact(known)[0]).tolist())


def _decide_later(labels: Labels) -> None:
    """Parameters go with channels that still vary along them; else they keep their size."""
    for found in labels.later:
        if labels.constant_along(found.result, found.axes) is None:
            labels.carry(found.layer)
            labels.tie(found.result, found.wide)
        else:
            labels.freeze(found.layer, found.reason)
    labels.later.clear()


def _fill_grid(grid: Tensor, labels: Labels) -> bool:
    """Tie along all axes but the longest, unless channels vary along one axis only already."""
    varying = [axis for axis in range(grid.ndim) if labels.constant_along(grid, [axis]) is None]
    if len(varying) < 2 or labels.is_frozen(grid):
        return False
    if bool((grid == FIXED).any()):  # such a block never becomes a full one of channels
        labels.freeze(grid, "channels share a block of axes with positions of fixed number")
        return False
    free = max(varying, key=lambda axis: grid.shape[axis])
    others = [axis for axis in varying if axis != free]
    labels.tie_along(grid, others, "a view that needs equal blocks of channels")
    if any(labels.constant_along(grid, [axis]) is None for axis in others):
        labels.freeze(grid, "a view of channels beside positions of fixed number")
    return True


def equal_parts(
    parts: Tensor,  # (parts, places) labels
    group_of: Tensor,  # (labels,) number of the group of each label's class, -1 for none
    labels: Labels,
) -> list[tuple[int, ...]] | None:
    """Groups that must keep equal numbers so that the parts stay equal.

    Returns:
        Tuples of group numbers; None if the parts could not be matched group by group, and were
        tied place by place instead.
    """
    parts = parts[:, labels.movable(parts).any(dim=0)]
    classes = labels.classes(parts)
    if bool((classes == classes[:1]).all()):
        return []
    groups = group_of[classes]
    columns = torch.unique(groups.t(), dim=0)
    alone = len(torch.unique(classes)) == classes.numel()
    if alone and bool((parts != FIXED).all()) and _one_to_one(columns):
        return [tuple(column) for column in columns.tolist()]
    labels.tie(parts, parts[:1])
    meets_fixed = (parts == FIXED).any(dim=0)
    labels.freeze(parts[:, meets_fixed], "parts of channels beside positions of fixed number")
    return None


def _one_to_one(columns: Tensor) -> bool:
    """Whether each group appears in one combination and one part only."""
    return bool((columns >= 0).all()) and len(torch.unique(columns)) == columns.numel()
