"""Selecting halves that keep the channels of largest score."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from prunella.allocate import Allocation, one_threshold, uniform
from prunella.core.budgets import Budget
from prunella.core.errors import InputError
from prunella.core.types import ChannelGraph, ChannelScores
from prunella.methods.registry import Selection


def required(scores: ChannelScores | None) -> ChannelScores:
    """The scores; InputError if there are none."""
    if scores is None:
        raise InputError("this method needs scores: call prunella.score first.")
    return scores


def largest(graph: ChannelGraph, values: Mapping[str, Tensor], allocation: Allocation) -> Selection:
    """Keep the largest; of equal ones those that come first, so that ties do not depend on luck."""
    kept = {}
    for group in graph.prunable:
        order = torch.argsort(values[group.name], descending=True, stable=True)
        kept[group.name] = order[: allocation.kept[group.name]].sort().values
    return Selection(kept=kept, allocation=allocation)


def largest_in_each_group(
    graph: ChannelGraph,
    scores: ChannelScores | None,
    budget: Budget,
    *,
    multiple: int,
    generator: torch.Generator,
) -> Selection:
    """The same fraction of every group: for scores that only rank the channels of one layer."""
    del generator
    values = required(scores).by_group
    return largest(graph, values, uniform(graph, budget, multiple=multiple))


def largest_of_all(
    graph: ChannelGraph,
    scores: ChannelScores | None,
    budget: Budget,
    *,
    multiple: int,
    generator: torch.Generator,
) -> Selection:
    """One threshold for all groups: for scores that can be compared between layers."""
    del generator
    values = required(scores).by_group
    return largest(graph, values, one_threshold(graph, values, budget, multiple=multiple))
