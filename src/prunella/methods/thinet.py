"""Channels go one by one, each time the one whose loss changes the next layer least.

    r_i = (r_i1 .. r_iC),  r_ij = <W_oj, a_j(p)>   for random samples, positions p and outputs o
    the next to go is the j that makes  sum over i of (sum over removed j' and j of r_ij')^2  least
    s_j = how many went before j

Source: Luo, Wu, Lin, "ThiNet: a filter level pruning method for deep neural network compression",
ICCV 2017, section 3.2, equation 6 and algorithm 1, with 10 positions of each sample as there. Each
keeps the same rate in all layers, as there. Differences: all layers are judged in the original
network, not one after another with training in between; the least squares of equation 7 are left
to the repair that `prune` makes for every method.

The squares need only the inner products G_jj' = sum over i of r_ij r_ij' of the channels, which
are summed as the samples pass: the objective for a set T is the sum of G over T x T.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from prunella.core.errors import InputError
from prunella.core.modes import attention_in_parts, evaluating, full_precision
from prunella.core.progress import Progress
from prunella.core.samples import SampleIds
from prunella.core.types import ChannelGraph, ChannelGroup, ChannelScores
from prunella.methods.passes import batches, generators_for, readers_of
from prunella.methods.ranking import largest_in_each_group
from prunella.methods.registry import register_method
from prunella.ops import (
    CallWatcher,
    Contraction,
    StoredTensors,
    contraction_of,
    plain_calls,
    windows,
)

NAME = "thinet"
_POSITIONS = 10  # of each sample


def removal_order(
    model: nn.Module,
    graph: ChannelGraph,
    loader: Iterable[object],
    *,
    generator: torch.Generator,
    progress: Progress,
) -> ChannelScores:
    """How many units of its group the greedy choice removes before each."""
    watcher = _Products(model, graph, generator)
    device = next(model.parameters()).device
    seen: list[SampleIds] = []
    with evaluating(model), full_precision(device), attention_in_parts():
        for batch in batches(loader, progress=progress, description="contributions"):
            watcher.samples = batch.count
            with watcher:
                batch.inputs.to(device).call(model)
            seen.append(batch.ids)
    values = {}
    for group in graph.prunable:
        if group.name not in watcher.gram:
            raise InputError(
                f"group {group.name!r}: none of its consumers ran on the calibration samples; "
                "trace the model with inputs that take the same path."
            )
        values[group.name] = greedy_order(watcher.gram[group.name])
    return ChannelScores(method=NAME, by_group=values, samples=SampleIds.union(seen))


def greedy_order(
    gram: Tensor,  # (U, U) float64
) -> Tensor:
    """The place of each unit in the greedy order of removal, from 0; float32, shape (U,).

    Of equal units the later ones go first.
    """
    order = torch.zeros(len(gram))
    left = torch.ones(len(gram), dtype=torch.bool)
    # What removing a unit adds to the sum over T x T: G_jj + 2 sum over removed j' of G_jj'.
    added = gram.diagonal().clone()
    for place in range(len(gram)):
        candidates = left.nonzero().reshape(-1)
        values = added[candidates]
        chosen = candidates[len(values) - 1 - int(values.flip(0).argmin())]
        order[chosen] = place
        left[chosen] = False
        added += 2 * gram[chosen]
    return order


class _Products(CallWatcher):
    """Sums the inner products of the units' contributions at random places of every consumer."""

    def __init__(self, model: nn.Module, graph: ChannelGraph, generator: torch.Generator) -> None:
        super().__init__()
        self.stored = StoredTensors(model)
        self.samples = 0
        self.gram: dict[str, Tensor] = {}
        self.consumers = readers_of(graph)
        self.generators = generators_for(self.consumers, generator)

    def answer(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = contraction_of(func, args, self.stored)
        key = None if call is None else (call.name, call.in_axis)
        if call is not None and key in self.consumers:
            drawn = _drawn_contributions(call, self.samples, self.generators[key])
            for first, contributions in drawn:
                for group, member in self.consumers[key]:
                    self._add(group, _by_unit(contributions, member.indices, first))
        return func(*args, **kwargs)

    def _add(self, group: ChannelGroup, rows: Tensor) -> None:
        if group.name not in self.gram:
            self.gram[group.name] = torch.zeros(group.size, group.size, dtype=torch.float64)
        self.gram[group.name] += rows.t() @ rows


def _by_unit(
    contributions: Tensor,  # (rows, channels)
    units: Tensor,  # (U, k) positions on the weight's input axis
    first: int,
) -> Tensor:
    """Sums over the positions that each unit owns here; (rows, U), 0 where it owns none."""
    places = units - first
    inside = (places >= 0) & (places < contributions.shape[1])
    read = contributions[:, places.clamp(0, contributions.shape[1] - 1)]
    return (read * inside).sum(dim=2)


def _drawn_contributions(
    call: Contraction, samples: int, generator: torch.Generator
) -> list[tuple[int, Tensor]]:
    """For each group of a call its first channel and r_ij at random places; (rows, channels)."""
    found = []
    for part in plain_calls(call):
        inputs, weight = part.call.inputs.detach(), part.call.weight.detach()
        if part.call.spatial == 0:
            seen, kernels = inputs[..., None], weight.t()[..., None]
        else:
            view = windows(inputs, part.call)
            seen = view.movedim(1, 1 + part.call.spatial)  # (N, *positions, C, *kernel)
            kernels = weight
        where = seen.shape[: 1 + part.call.spatial]
        chance = torch.rand(samples, _POSITIONS, 2, generator=generator, dtype=torch.float64)
        each = max(1, where.numel() // samples)  # positions of one sample
        starts = torch.arange(samples)[:, None] * each
        rows = (starts + (chance[..., 0] * each).long()).reshape(-1).clamp(max=where.numel() - 1)
        outputs = (chance[..., 1] * len(kernels)).long().reshape(-1)
        index = tuple(axis.to(inputs.device) for axis in torch.unravel_index(rows, where))
        products = seen[index] * kernels[outputs.to(inputs.device)]
        found.append((part.first, products.flatten(2).sum(dim=2).double().cpu()))
    return found


register_method(
    NAME,
    "remove the channels that the next layers' outputs miss least; one fraction for all layers",
    score=removal_order,
    needs="samples",
)(largest_in_each_group)
