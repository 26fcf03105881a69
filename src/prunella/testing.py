"""Whether a rule for an operation is right: cut at random, and compare with the masked original."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from prunella.core.errors import InputError, SurgeryError
from prunella.core.inputs import Inputs
from prunella.core.types import ChannelGraph, ChannelGroup
from prunella.graph import trace
from prunella.graph.labelled_run import require_prunable
from prunella.surgery import verified_cut

_CLOSE = 1e-9  # relative, in float64


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleFailure:
    """A cut that is not what its mask computes.

    Attributes:
        group: The group that was cut alone, or the first of those that must stay equal to it.
        seed: Of the random choice.
        kept: The units that were kept.
        words: What went wrong.
    """

    group: str
    seed: int
    kept: tuple[int, ...]
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleCheck:
    """What `check_rule` found.

    Attributes:
        checked: Groups that were cut.
        frozen: Reasons of the groups that could not be.
        cuts: Number of cuts that were compared with their mask.
        failures: Those that differ, or do not run.
    """

    checked: tuple[str, ...]
    frozen: dict[str, str]
    cuts: int
    failures: tuple[RuleFailure, ...]

    def __str__(self) -> str:
        lines = [f"{self.cuts} cuts of {len(self.checked)} groups, {len(self.failures)} wrong"]
        for failure in self.failures:
            kept = ", ".join(map(str, failure.kept))
            lines.append(f"  {failure.group}, units {kept} kept: {failure.words}")
        lines += [f"  {name} is frozen: {reason}" for name, reason in self.frozen.items()]
        return "\n".join(lines)


def check_rule(
    model: nn.Module, example_inputs: object, *, seeds: Iterable[int] = range(5)
) -> RuleCheck:
    """Cut random units of each group of a small model, and compare with the masked original.

    Made for models of a few layers around the operation whose rule is to be checked. The comparison
    is in float64, up to 1e-9 of the largest output. `prunella.trace` would freeze what does not run
    after a cut, in case the model's code is to blame; here it counts as a failure, because a wrong
    rule leaves the same traces.

    Args:
        model: Untouched; parameters in floating point, on any device with values.
        example_inputs: As for `prunella.trace`.
        seeds: Of the choices of units; every group is cut once for each.

    Returns:
        What was cut, what was not and why, and the failures.

    Raises:
        InputError: the model cannot be run on the example inputs, or no seed is given.
        GraphError: nothing can be removed; gives the reason for each group.
    """
    exact = copy.deepcopy(model).double()
    inputs = Inputs.of(example_inputs).map(_as_double)
    graph = trace(exact, inputs)
    require_prunable(graph)
    cuts = 0
    failures = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        for group in _one_of_each_balance(graph):
            cuts += 1
            kept = _cut_alone(graph, group, generator)
            try:
                verified_cut(exact, graph, kept, tolerance=_CLOSE)
            except SurgeryError as error:
                units = tuple(kept[group.name].tolist())
                failures.append(
                    RuleFailure(group=group.name, seed=seed, kept=units, words=str(error))
                )
    if not cuts:
        raise InputError("no seed is given; expected for instance seeds=range(5).")
    return RuleCheck(
        checked=tuple(group.name for group in graph.prunable),
        frozen={group.name: group.reason for group in graph.groups if not group.prunable},
        cuts=cuts,
        failures=tuple(failures),
    )


def _as_double(leaf: Tensor) -> Tensor:
    return leaf.double() if leaf.dtype.is_floating_point else leaf


def _one_of_each_balance(graph: ChannelGraph) -> Iterator[ChannelGroup]:
    seen = set()
    for group in graph.prunable:
        if not group.balance or group.balance not in seen:
            seen.add(group.balance)
            yield group


def _cut_alone(
    graph: ChannelGraph, group: ChannelGroup, generator: torch.Generator
) -> dict[str, Tensor]:
    """Random units of one group, and as many of those that must stay equal to it."""
    count = int(torch.randint(1, group.size, (1,), generator=generator))
    kept = {}
    for other in graph.prunable:
        cut = other is group or (group.balance and other.balance == group.balance)
        order = torch.randperm(other.size, generator=generator)
        kept[other.name] = order[:count].sort().values if cut else torch.arange(other.size)
    return kept
