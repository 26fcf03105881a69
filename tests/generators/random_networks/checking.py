"""What must hold for every network: the small one is the masked one, at the cost that was said."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import prunella
from prunella.core.inputs import Inputs, tensors_in
from prunella.core.types import ChannelGraph, Cost
from prunella.surgery import masked
from random_networks.network import Network, build, inputs_of

Trace = Callable[[nn.Module, Any], ChannelGraph]
CLOSE = 1e-9  # relative to the largest output, in float64


@dataclass(frozen=True)
class Outcome:
    """What was cut from one network.

    Attributes:
        operations: Steps of the network.
        kinds: Kinds of step in it.
        groups: Groups of its graph, frozen ones too.
        prunable: Groups that could be pruned.
        removed: Units removed.
        difference: Largest difference from the masked original, relative to the largest output.
    """

    operations: int
    kinds: frozenset[str]
    groups: int
    prunable: int
    removed: int
    difference: float


def check(network: Network, trace: Trace = prunella.trace) -> Outcome:
    """Trace, cut at random, compare; AssertionError where something does not hold."""
    model = build(network)
    example = inputs_of(network, 1)
    graph = trace(model, example)
    kept = random_units(graph, random.Random(network.seed))
    difference = 0.0
    if kept:
        plan = prunella.Plan.from_kept(graph, kept)
        small = plan.apply(model)
        kept_all = dict(plan.kept)
        difference = _difference(masked(model, graph, kept_all), small, network)
        assert difference <= CLOSE, f"differs from the masked original by {difference:.2g}"
        again = prunella.trace(small, example)
        _costs(prunella.cost(small, example), again, plan)
        assert prunella.cost(model, example) == plan.original
        _trains(small, network)
    return Outcome(
        operations=len(network.steps),
        kinds=frozenset(step.kind for step in network.steps),
        groups=len(graph.groups),
        prunable=len(graph.prunable),
        removed=sum(graph.group(name).size - len(units) for name, units in kept.items()),
        difference=difference,
    )


def random_units(graph: ChannelGraph, rng: random.Random) -> dict[str, list[int]]:
    """At least one unit of every group; equally many of groups that must stay equal."""
    counts: dict[str, int] = {}
    kept = {}
    for group in graph.prunable:
        count = group.size if rng.random() < 0.15 else rng.randint(1, group.size)
        if group.balance:
            count = counts.setdefault(group.balance, count)
        kept[group.name] = sorted(rng.sample(range(group.size), count))
    return kept


def _run(model: nn.Module, inputs: Any) -> list[Tensor]:
    given = Inputs.of(inputs)
    return list(tensors_in(model(*given.args, **given.kwargs)))


def _difference(expected: nn.Module, small: nn.Module, network: Network) -> float:
    """On samples that the trace has not seen, three at once."""
    inputs = inputs_of(network, 3, seed=1)
    with torch.no_grad():
        wanted, found = _run(expected, inputs), _run(small, inputs)
    assert [t.shape for t in found] == [t.shape for t in wanted]
    worst = max(float((a - b).abs().max()) for a, b in zip(found, wanted, strict=True))
    scale = max(float(t.abs().max()) for t in wanted)
    assert math.isfinite(scale), "the masked original has no finite output"
    return worst / scale if scale else worst


def _costs(found: Cost, again: ChannelGraph, plan: prunella.Plan) -> None:
    """As predicted to the unit; products of two activations are predicted as those before."""
    achieved, products = plan.achieved, plan.graph.other_macs
    assert (found.params, found.bytes) == (achieved.params, achieved.bytes)
    assert found.macs - again.other_macs == achieved.macs - products, "multiply-adds"
    assert found.macs == again.macs
    assert again.other_macs <= products


def _trains(small: nn.Module, network: Network) -> None:
    """Forward and backward in training mode; every parameter that is used gets a gradient."""
    small.train()
    outputs = _run(small, inputs_of(network, 3, seed=2))
    sum(output.square().mean() for output in outputs).backward()
    found = [p for p in small.parameters() if p.grad is not None]
    assert found
    assert all(p.grad is not None and p.grad.shape == p.shape for p in found)
