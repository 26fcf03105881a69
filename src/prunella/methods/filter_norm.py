"""Filters of large norm stay.

    s_j = |F_j|_1  or  |F_j|_2,   F_j: all weights that produce channel j, biases left out

Source: Li, Kadav, Durdanovic, Samet, Graf, "Pruning filters for efficient convnets", ICLR 2017,
section 3.1 (L1; filters are ranked within a layer). The L2 norm is the common variant of it, for
instance in He et al., "Soft filter pruning", IJCAI 2018, there with soft retraining, which is left
out here. The paper sets a rate by hand for each stage of a network; here one kept fraction in all
groups meets the budget.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import torch
from torch import nn

from prunella.allocate import uniform
from prunella.core.budgets import Budget
from prunella.core.progress import Progress
from prunella.core.types import ChannelGraph, ChannelScores
from prunella.methods.ranking import largest, largest_in_each_group, required
from prunella.methods.registry import Selection, register_method
from prunella.methods.scoring import check_values
from prunella.methods.weights import producing_rows

L1, L2 = "filter-norm-l1", "filter-norm"
_ORDERS = {L1: 1, L2: 2}


def norms(
    name: str,
    model: nn.Module,
    graph: ChannelGraph,
    loader: Iterable[object],
    *,
    generator: torch.Generator,
    progress: Progress,
) -> ChannelScores:
    """The norm of each unit's producing weights."""
    del loader, generator, progress
    values = {
        group.name: producing_rows(model, group, name).norm(p=_ORDERS[name], dim=1)
        for group in graph.prunable
    }
    return ChannelScores(method=name, by_group=values)


@register_method(
    L2,
    "keep the filters of largest L2 norm; one fraction for all layers",
    score=partial(norms, L2),
    needs="weights",
    takes=("pfp",),
)
def filter_norm(
    graph: ChannelGraph,
    scores: ChannelScores | None,
    budget: Budget,
    *,
    multiple: int,
    generator: torch.Generator,
) -> Selection:
    """The largest stay; also from the norms that come with `sensitivities`."""
    del generator
    known = required(scores)
    values = known.by_group if known.method == L2 else known.filter_norms
    check_values(values, graph)
    return largest(graph, values, uniform(graph, budget, multiple=multiple))


register_method(
    L1,
    "keep the filters of largest L1 norm; one fraction for all layers",
    score=partial(norms, L1),
    needs="weights",
)(largest_in_each_group)
