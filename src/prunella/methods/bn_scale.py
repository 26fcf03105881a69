"""Channels with a large batch-norm scale stay.

    s_j = |gamma_j|

Source: Liu, Li, Shen, Huang, Yan, Zhang, "Learning efficient convolutional networks through network
slimming", ICCV 2017, section 3: one threshold for the scales of all layers. The paper trains the
network with an L1 penalty on the scales first; without it they say less.

A channel that passes several batch norms, as in a residual stream, takes the mean of its scales.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from prunella.core.errors import InputError
from prunella.core.progress import Progress
from prunella.core.types import ChannelGraph, ChannelGroup, ChannelScores
from prunella.methods.ranking import largest_of_all
from prunella.methods.registry import register_method

NAME = "bn-scale"
_LISTED = 5  # names in one message


def scales(
    model: nn.Module,
    graph: ChannelGraph,
    loader: Iterable[object],
    *,
    generator: torch.Generator,
    progress: Progress,
) -> ChannelScores:
    """Mean absolute scale of the batch norms that each unit passes."""
    del loader, generator, progress
    gammas = {
        f"{name}.weight" if name else "weight": module.weight.detach().float().abs().cpu()
        for name, module in model.named_modules(remove_duplicate=False)
        if isinstance(module, _BatchNorm) and module.affine
    }
    found = {group.name: _of_group(group, gammas) for group in graph.prunable}
    without = [name for name, scale in found.items() if scale is None]
    if without:
        raise InputError(
            f"method {NAME!r} compares scales of batch norm, but {len(without)} of {len(found)} "
            f"groups pass none: {', '.join(map(repr, without[:_LISTED]))}"
            f"{', ...' if len(without) > _LISTED else ''}. Leave them whole with "
            "include=[torch.nn.BatchNorm2d] (in trace, or prune), or use another method."
        )
    values = {name: scale for name, scale in found.items() if scale is not None}
    return ChannelScores(method=NAME, by_group=values)


def _of_group(group: ChannelGroup, gammas: dict[str, Tensor]) -> Tensor | None:
    parts = [gammas[m.tensor][m.indices] for m in group.members if m.tensor in gammas]
    return torch.cat(parts, dim=1).mean(dim=1) if parts else None


register_method(
    NAME,
    "keep the channels of largest batch-norm scale; one threshold for all layers",
    score=scales,
    needs="weights",
)(largest_of_all)
