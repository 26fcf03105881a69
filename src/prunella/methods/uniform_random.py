"""Channels at random: what any method must beat."""

from __future__ import annotations

import torch

from prunella.allocate import uniform
from prunella.core.budgets import Budget
from prunella.core.types import ChannelGraph, ChannelScores
from prunella.methods.ranking import largest
from prunella.methods.registry import Selection, register_method


@register_method(
    "random", "keep channels at random; one fraction for all layers", uses_scores=False
)
def uniform_random(
    graph: ChannelGraph,
    scores: ChannelScores | None,
    budget: Budget,
    *,
    multiple: int,
    generator: torch.Generator,
) -> Selection:
    """A uniformly random subset of each group."""
    del scores
    allocation = uniform(graph, budget, multiple=multiple)
    drawn = {
        group.name: torch.rand(group.size, generator=generator, dtype=torch.float64)
        for group in graph.prunable
    }
    return largest(graph, drawn, allocation)
