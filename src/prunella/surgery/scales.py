"""Weights that read drawn channels, times what makes the draw right on average."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from prunella.core.positions import reading_factors
from prunella.core.types import ChannelGraph
from prunella.ops import copy_module
from prunella.surgery.apply import check_architecture, stored_tensors


def scaled(
    model: nn.Module,
    graph: ChannelGraph,
    kept: Mapping[str, Tensor],  # group name -> (kept,) sorted int64
    scales: Mapping[str, Tensor],  # group name -> (kept,)
) -> nn.Module:
    """The model with weights that read the kept units multiplied; the rest is shared with it.

    A factor in the weights of every layer that reads a channel is a factor of the channel, because
    what such a layer computes is a sum of products of the two. Biases stay.

    Raises:
        InputError: the model's tensors differ from those the graph was made from.
    """
    check_architecture(model, graph)
    stored = stored_tensors(model)
    replaced: dict[int, Any] = {id(tensor): tensor for tensor in stored.values()}
    for name, axes in reading_factors(graph, kept, scales).items():
        replaced[id(stored[name])] = _times(stored[name], axes)
    return copy_module(model, replaced)


def _times(tensor: Tensor, axes: Mapping[int, Tensor]) -> Tensor:
    own = tensor.detach().clone()
    for axis, factors in axes.items():
        # Positions behind the last that a group owns are no group's.
        along = own.narrow(axis, 0, len(factors))
        shape = [len(factors) if other == axis else 1 for other in range(own.ndim)]
        along.mul_(factors.to(device=own.device, dtype=own.dtype).reshape(shape))
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(own, requires_grad=tensor.requires_grad)
    return own
