"""Pruning in several steps: plans in a row, and an optimiser that goes on between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from prunella.core.errors import InputError
from prunella.core.positions import complement, reading_factors, removed_positions, shape_without
from prunella.core.samples import SampleIds
from prunella.core.types import ChannelGraph
from prunella.plans import Plan
from prunella.surgery import sliced_optimizer

AnyOptimizer = TypeVar("AnyOptimizer", bound=Optimizer)
Masks = dict[tuple[str, int], Tensor]  # (tensor, axis) -> (length,) bool, true where removed


def slice_optimizer(
    optimizer: AnyOptimizer, plan: Plan, model: nn.Module, small: nn.Module
) -> AnyOptimizer:
    """A new optimiser for the small model that goes on where the model's stands.

    Parameter groups and their options (learning rate, `initial_lr`, weight decay, flags) stay. Of
    each tensor of state that has its parameter's shape (momentum buffers, moments of Adam, and the
    like) the same positions stay as of the parameter; single numbers such as `step` are copied.
    With optimisers that work on each element by itself (SGD, Adam, AdamW, RMSprop) the small model
    then trains exactly as the kept positions of the masked original would.

    Hooks and learning-rate schedulers belong to the old object and are not carried over.

    Args:
        optimizer: Of some or all parameters of `model`; untouched.
        plan: The plan that `small` was made with.
        model: The model before the cut; untouched.
        small: The model made by `plan.apply(model)`.

    Raises:
        InputError: the optimiser is of other parameters than the model's; one of the models does
            not fit the plan; or a piece of state has neither the parameter's shape nor a single
            number (LBFGS, Adafactor), which is named. Nothing is reset in silence.
    """
    return sliced_optimizer(optimizer, plan.graph, plan.kept, model=model, small=small)


def compose(first: Plan, second: Plan) -> Plan:
    """One plan for the original network that removes what two plans in a row remove.

    `compose(first, second).apply(model)` equals `second.apply(first.apply(model))`. With it a
    network that was pruned in several steps is one file that loads onto the original architecture.
    Where both plans scale what reads a unit, the factors are multiplied.

    Args:
        first: For the original network.
        second: For the network that `first` gives, from a trace of its own.

    Returns:
        A plan on the first one's graph. It has the samples of both. It states no budget, because
        the second plan's was a share of a smaller network, and has the seed of the second.

    Raises:
        InputError: the second plan is not for the network that the first gives, or removes or
            scales what the first one's graph does not let change by itself; names tensor and
            positions.
    """
    removed = removed_positions(first.graph, first.kept)
    _check_follows(second.graph, first.graph, removed)
    gone = _masks(first.graph, first.kept)
    for (name, axis), positions in _masks(second.graph, second.kept).items():
        if positions.any():
            # Position p of the smaller tensor is the p-th that the first plan leaves.
            mask = gone.get((name, axis))
            if mask is None:
                raise _no_plan(first.graph, name, axis, positions)
            mask[~mask] = positions
    kept = {group.name: _untouched(first.graph, group.name, gone) for group in first.graph.prunable}
    _check_whole_units(first.graph, wanted=gone, reached=_masks(first.graph, kept))
    methods = dict.fromkeys([first.method, second.method])
    return Plan.from_kept(
        first.graph,
        kept,
        method=", then ".join(methods),
        seed=second.seed,
        samples=SampleIds.union([first.samples, second.samples]),
        scales=_scales(first, second, removed, kept),
    )


def _scales(
    first: Plan,
    second: Plan,
    removed: Mapping[str, Mapping[int, Tensor]],
    kept: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Scales on the first one's graph that multiply as the two plans in a row do."""
    wanted = reading_factors(first.graph, first.kept, first.scales)
    for name, axes in reading_factors(second.graph, second.kept, second.scales).items():
        for axis, later in axes.items():
            gone = removed.get(name, {}).get(axis, torch.zeros(0, dtype=torch.long))
            whole = torch.ones(len(gone) + len(later), dtype=torch.float64)
            factors = wanted.setdefault(name, {}).setdefault(axis, whole)
            factors[complement(gone, len(factors))] *= later
    scales = {}
    for group in first.graph.prunable:
        for member in group.members:
            found = wanted.get(member.tensor, {}).get(member.axis)
            if member.role == "consumer" and found is not None:
                scales[group.name] = found[member.indices[kept[group.name], 0]]
    scales = {name: values for name, values in scales.items() if not bool((values == 1).all())}
    _check_scales(first.graph, kept, wanted=wanted, scales=scales)
    return scales


def _check_scales(
    graph: ChannelGraph,
    kept: Mapping[str, Tensor],
    *,
    wanted: Mapping[str, Mapping[int, Tensor]],
    scales: Mapping[str, Tensor],
) -> None:
    """Raise InputError unless scales of whole units multiply what stays as is wanted."""
    reached = reading_factors(graph, kept, scales)
    removed = removed_positions(graph, kept)
    for name, axes in wanted.items():
        for axis, factors in axes.items():
            found = reached.get(name, {}).get(axis, torch.ones_like(factors))
            differs = found != factors
            differs[removed.get(name, {}).get(axis, torch.zeros(0, dtype=torch.long))] = False
            if differs.any():
                raise _no_plan(graph, name, axis, differs)


def _check_follows(
    graph: ChannelGraph, original: ChannelGraph, removed: Mapping[str, Mapping[int, Tensor]]
) -> None:
    """Raise InputError unless a graph is that of the network which the first plan gives."""
    left = {t.name: shape_without(t.shape, removed.get(t.name, {})) for t in original.tensors}
    found = {tensor.name: tensor.shape for tensor in graph.tensors}
    for name in dict.fromkeys([*left, *found]):
        if left.get(name) != found.get(name):
            raise InputError(
                f"the plans do not follow one another: the first leaves {name!r} with shape "
                f"{left.get(name, 'none')}, but in the network of the second it has shape "
                f"{found.get(name, 'none')}; trace the network that the first plan gives and make "
                "the second plan for it."
            )


def _masks(graph: ChannelGraph, kept: Mapping[str, Tensor]) -> Masks:
    """Which positions a plan removes, for every axis that the graph knows."""
    lengths: dict[tuple[str, int], int] = {}
    for group in graph.groups:
        for member in group.members:
            key = (member.tensor, member.axis)
            lengths[key] = lengths.get(key, 0) + member.indices.numel()
    masks = {key: torch.zeros(length, dtype=torch.bool) for key, length in lengths.items()}
    for name, axes in removed_positions(graph, kept).items():
        for axis, positions in axes.items():
            masks[name, axis][positions] = True
    return masks


def _untouched(graph: ChannelGraph, name: str, gone: Masks) -> Tensor:
    """The units of a group of which no position is gone; (kept,) int64."""
    group = graph.group(name)
    touched = torch.zeros(group.size, dtype=torch.bool)
    for member in group.members:
        touched |= gone[member.tensor, member.axis][member.indices].any(dim=1)
    return (~touched).nonzero().reshape(-1)


def _check_whole_units(graph: ChannelGraph, *, wanted: Masks, reached: Masks) -> None:
    """Raise InputError unless removing whole units of the graph removes what is wanted."""
    for (name, axis), mask in wanted.items():
        if torch.equal(mask, reached[name, axis]):
            continue
        raise _no_plan(graph, name, axis, mask ^ reached[name, axis])


def _no_plan(graph: ChannelGraph, name: str, axis: int, positions: Tensor) -> InputError:
    places = positions.nonzero().reshape(-1).tolist()
    listed = ", ".join(map(str, places[:5])) + (", ..." if len(places) > 5 else "")
    return InputError(
        f"the two plans together are no plan for the original {graph.model_type}: the second parts "
        "what goes together there, or removes or scales what must stay there; the first place is "
        f"axis {axis} of {name!r}, positions {listed}. Keep both plans, and apply one after the "
        "other."
    )
