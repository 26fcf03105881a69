"""The check that makes surgery safe: the small model equals the masked original."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from prunella.core.errors import SurgeryError
from prunella.core.inputs import Inputs, tensors_in
from prunella.core.modes import evaluating, full_precision
from prunella.core.types import ChannelGraph
from prunella.surgery.apply import cut, masked
from prunella.surgery.config import follow_config
from prunella.surgery.probes import probe, relative_difference
from prunella.surgery.quick import quick_difference

TOLERANCE = 1e-4
_PROBES = 3
_LARGE = 50_000_000  # multiply-adds of a network with so many positions that one probe will do
_COARSE = (torch.float16, torch.bfloat16)
_NOTHING = (
    "and the masked original give outputs without a single number, on random inputs and on the "
    "example inputs, so nothing could be compared. Trace with example inputs that give outputs; "
    "for a detector, lower the score that an object must have until it finds some, and raise it "
    "again after the cut."
)


def verified_cut(
    model: nn.Module,
    graph: ChannelGraph,
    kept: Mapping[str, Tensor],  # group name -> (kept,) sorted int64
    *,
    tolerance: float = TOLERANCE,
) -> tuple[nn.Module, float]:
    """Cut the units that are not kept and compare with the masked original.

    The two are run on inputs of the example's shape and type with random values, so that equality
    is not an accident of an empty example; if these give outputs without a number, as of a detector
    that finds nothing, on the example itself. Networks of more than 50 million multiply-adds are
    run on one smaller image, or with sequences cut short within their stacks of blocks, if they
    take that (docs/decisions/0013-small-probes.md); only where the two differ there is the
    comparison made at full size, which then decides.

    Args:
        model: Untouched.
        graph: Traced from a model of the same architecture.
        kept: Units to keep, for every prunable group.
        tolerance: Largest accepted difference, relative to the largest output.

    Returns:
        The small model, and the largest relative difference found; NaN on the meta device, where
        nothing can be compared. Groups that are not `exact` are left whole in the comparison; for
        them only that the small model runs is checked. See `follow_config` for its `config`.

    Raises:
        SurgeryError: the two differ or the small model cannot be run; names the group at fault. Or
            there is nothing to compare in their outputs.
        InputError: the model's tensors differ from those the graph was made from.
    """
    small = cut(model, graph, kept)
    if next(model.parameters()).is_meta:
        follow_config(model, small)
        return small, math.nan
    if graph.macs > _LARGE and _is_exact(graph, kept) and not _is_coarse(model):
        difference = quick_difference(model, small, graph, kept)
        if difference <= tolerance:
            follow_config(model, small)
            return small, difference
    probes = _probes(graph, next(model.parameters()).device)
    try:
        difference = _difference(model, small, graph, kept, probes)
        if math.isnan(difference):  # a detector that finds nothing in noise, for instance
            probes = [graph.inputs.to(next(model.parameters()).device)]
            difference = _difference(model, small, graph, kept, probes)
    except Exception as error:  # the model's own code may raise anything, assertions above all
        group, words = _culprit(model, graph, kept, probes, tolerance)
        raise SurgeryError(
            f"the cut {graph.model_type} cannot be run ({_words(error)}); {words}", group=group
        ) from error
    if math.isnan(difference):
        raise SurgeryError(f"the cut {graph.model_type} {_NOTHING}")
    if not difference <= tolerance:
        group, words = _culprit(model, graph, kept, probes, tolerance)
        raise SurgeryError(
            f"the cut {graph.model_type} differs from the masked original by {difference:.2g} "
            f"(relative; at most {tolerance:g} is accepted); {words}",
            group=group,
        )
    follow_config(model, small)
    return small, difference


def _difference(
    model: nn.Module,
    small: nn.Module,
    graph: ChannelGraph,
    kept: Mapping[str, Tensor],
    probes: list[Inputs],
) -> float:
    """Of the small and the masked model; groups that are not exact stay whole in both."""
    found = _run(small, probes)
    part = _exact_part(graph, kept)
    if not _is_exact(graph, kept):
        found = _run(cut(model, graph, part), probes)
    return relative_difference(found, _run(masked(model, graph, part), probes))


def _is_exact(graph: ChannelGraph, kept: Mapping[str, Tensor]) -> bool:
    return all(group.exact or len(kept[group.name]) == group.size for group in graph.prunable)


def _exact_part(graph: ChannelGraph, kept: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The plan with groups whole for which no equality can hold."""
    return {
        group.name: kept[group.name] if group.exact else torch.arange(group.size)
        for group in graph.prunable
    }


def _run(model: nn.Module, probes: list[Inputs]) -> list[Tensor]:
    """Outputs on all probes."""
    if _is_coarse(model):
        # Rounding in half precision depends on the order of a sum, which a cut changes.
        model, probes = copy.deepcopy(model).float(), [probe.map(_as_float32) for probe in probes]
    device = next(model.parameters()).device
    with evaluating(model), torch.random.fork_rng(), full_precision(device):
        outputs = [model(*probe.args, **probe.kwargs) for probe in probes]
    return list(tensors_in(outputs))


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__


def _is_coarse(model: nn.Module) -> bool:
    return any(tensor.dtype in _COARSE for tensor in model.parameters())


def _as_float32(leaf: Tensor) -> Tensor:
    return leaf.float() if leaf.dtype in _COARSE else leaf


def _probes(graph: ChannelGraph, device: torch.device) -> list[Inputs]:
    """Several, because a wrongly cut channel shows only where it is not zero by chance."""
    generator = torch.Generator().manual_seed(0)
    large = graph.macs > _LARGE
    return [probe(graph.inputs, device, generator) for _ in range(1 if large else _PROBES)]


def _culprit(
    model: nn.Module,
    graph: ChannelGraph,
    kept: Mapping[str, Tensor],
    probes: list[Inputs],
    tolerance: float,
) -> tuple[str, str]:
    """Name of the first group that fails if it alone is cut, "" if none does; and words on it."""
    for group in graph.prunable:
        alone = {
            other.name: kept[other.name]
            if other.name == group.name or (group.balance and other.balance == group.balance)
            else torch.arange(other.size)
            for other in graph.prunable
        }
        try:
            found = _run(cut(model, graph, alone), probes)
            difference = relative_difference(found, _run(masked(model, graph, alone), probes))
        except Exception as error:
            return group.name, (
                f"the group {group.name!r} fails by itself: {_words(error)}. Exclude it, or take "
                "constants that depend on its width out of the model's forward."
            )
        if group.exact and difference > tolerance:  # false for NaN, where nothing is compared
            return group.name, (
                f"the group {group.name!r} differs by itself, by {difference:.2g}. Exclude it."
            )
    return "", "no single group fails by itself. Please report this model."
