"""Small models whose channel graph is known by hand, and what tests ask of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

import prunella
from prunella.core.types import ChannelGraph, ChannelGroup


class Net(nn.Module):
    """A module from a forward function and layers (or parameters) by name."""

    def __init__(self, forward: Callable[..., Any], **layers: Any) -> None:
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)
        self._forward = forward

    def forward(self, *inputs: Any, **named: Any) -> Any:
        return self._forward(self, *inputs, **named)


def names(graph: ChannelGraph) -> list[str]:
    return [group.name for group in graph.prunable]


def of(graph: ChannelGraph, tensor: str, axis: int, position: int = 0) -> ChannelGroup:
    """The group that owns a position of a tensor."""
    (group,) = (
        group
        for group in graph.groups
        for member in group.members
        if (member.tensor, member.axis) == (tensor, axis)
        and bool((member.indices == position).any())
    )
    return group


def units(graph: ChannelGraph, name: str, tensor: str, axis: int) -> list[list[int]]:
    """Positions of each unit along an axis."""
    (member,) = (m for m in graph.group(name).members if (m.tensor, m.axis) == (tensor, axis))
    return member.indices.tolist()


def halved(model: nn.Module, example: Any, **options: Any) -> tuple[ChannelGraph, nn.Module]:
    """Keep every other unit of every group; `apply` compares with the masked original."""
    graph = prunella.trace(model, example, **options)
    kept = {group.name: torch.arange(0, group.size, 2) for group in graph.prunable}
    assert kept, "nothing can be pruned"
    return graph, prunella.Plan.from_kept(graph, kept).apply(model)
