"""Filters that others can stand in for go: those nearest to the geometric median of their layer.

    s_j = sum over j' of |F_j - F_j'|_2,   F_j: all weights that produce channel j

Source: He, Liu, Wang, Hu, Yang, "Filter pruning via geometric median for deep convolutional neural
networks acceleration", CVPR 2019, section 3.3: the filter that minimises this sum is the one of a
layer nearest to its geometric median. Every layer is pruned at the same rate, as there.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from prunella.core.progress import Progress
from prunella.core.types import ChannelGraph, ChannelScores
from prunella.methods.ranking import largest_in_each_group
from prunella.methods.registry import register_method
from prunella.methods.weights import producing_rows

NAME = "fpgm"


def distances(
    model: nn.Module,
    graph: ChannelGraph,
    loader: Iterable[object],
    *,
    generator: torch.Generator,
    progress: Progress,
) -> ChannelScores:
    """Sum of the distances of each unit's producing weights to those of all units of its group."""
    del loader, generator, progress
    values = {}
    for group in graph.prunable:
        rows = producing_rows(model, group, NAME)
        # Not by the inner products: of nearly equal filters they would leave rounding alone.
        apart = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
        values[group.name] = apart.sum(dim=1)
    return ChannelScores(method=NAME, by_group=values)


register_method(
    NAME,
    "remove the filters nearest to the geometric median; one fraction for all layers",
    score=distances,
    needs="weights",
)(largest_in_each_group)
