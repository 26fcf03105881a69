"""The plan: what to keep, as plain data that can be looked at, stored and applied."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor, nn

from prunella.allocate import CostModel
from prunella.core.budgets import Budget, Latency
from prunella.core.errors import InputError
from prunella.core.results import RunTimes
from prunella.core.samples import SampleIds
from prunella.core.types import ChannelGraph, ChannelGroup, ChannelScores, Cost
from prunella.graph.labelled_run import require_prunable
from prunella.methods import fitting_scores
from prunella.methods import method as method_named
from prunella.surgery import scaled, verified_cut


@final
@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Plan:
    """Which units of each prunable group stay.

    Attributes:
        graph: The graph the plan was made for.
        kept: Sorted int64 units of each prunable group, by group name.
        requested: The budget, or None for a plan by hand.
        original: Cost before.
        achieved: Cost after, exact.
        method: Name of the method; "by hand" for a plan by hand.
        seed: Seed of the method's random draws.
        samples: The samples that informed the plan; a certificate must not use them.
        latency: Run times beside the original's, measured while planning for a `Latency` budget.
        scales: For groups whose units were drawn, by what the weights that read each kept unit are
            multiplied: float64, in the order of `kept`. They make a layer's sums right on average
            over the draws in what `apply` gives. A repair by least squares, as in `prune`, makes
            the error of the one draw smaller, and that average wrong; only the certificate speaks
            of the repaired network (docs/theory/sampling.md, section 5).
    """

    graph: ChannelGraph
    kept: Mapping[str, Tensor]  # group name -> (kept,) int64
    requested: Budget | Latency | None
    original: Cost
    achieved: Cost
    method: str
    seed: int
    samples: SampleIds
    latency: RunTimes | None = None
    scales: Mapping[str, Tensor] = field(default_factory=dict)

    @staticmethod
    def from_kept(
        graph: ChannelGraph,
        kept: Mapping[str, Tensor | list[int]],
        *,
        requested: Budget | Latency | None = None,
        method: str = "by hand",
        seed: int = 0,
        samples: SampleIds | None = None,
        latency: RunTimes | None = None,
        scales: Mapping[str, Tensor | list[float]] | None = None,
    ) -> Plan:
        """A plan from the units to keep; groups that are not named stay whole.

        Args:
            graph: From `trace`.
            kept: Units to keep by group name, in any order.
            requested: The budget that they meet.
            method: What chose them.
            seed: Seed of the method's random draws.
            samples: The samples that informed the choice.
            scales: By what the weights that read a unit are multiplied, by group name: a positive
                number for each kept unit, in the order of `kept`.

        Raises:
            InputError: an unknown or frozen group, units that are missing, repeated or out of
                range, unequal numbers in groups that keep equal ones, or scales that are not one
                positive number for each kept unit.
        """
        require_prunable(graph)
        checked = {group.name: torch.arange(group.size) for group in graph.prunable}
        for name, units in kept.items():
            checked[name] = _checked_units(graph, name, units)
        _check_balance(graph, checked)
        factors = {
            name: _checked_scales(name, values, checked, kept)
            for name, values in (scales or {}).items()
        }
        model = CostModel(graph)
        return Plan(
            graph=graph,
            kept=checked,
            requested=requested,
            original=model.full,
            achieved=model.cost({name: len(units) for name, units in checked.items()}),
            method=method,
            seed=seed,
            samples=samples or SampleIds.none(),
            latency=latency,
            scales=factors,
        )

    def apply(self, model: nn.Module) -> nn.Module:
        """A new, physically smaller model; `model` is untouched.

        The result is compared with the original whose removed channels are masked, and in which
        drawn channels are scaled as in the result; see `prunella.surgery.verified_cut`.

        Raises:
            InputError: `model` is of another architecture; names the first difference.
            SurgeryError: the small model does not equal the masked one.
        """
        return self.apply_verified(model)[0]

    def apply_verified(self, model: nn.Module) -> tuple[nn.Module, float]:
        """As `apply`, and the largest relative difference from the masked original."""
        if self.scales:
            model = scaled(model, self.graph, self.kept, self.scales)
        return verified_cut(model, self.graph, self.kept)

    def __str__(self) -> str:
        params, macs, _ = self.achieved.fraction_of(self.original)
        lines = [
            f"plan by {self.method}: {100 * params:.1f} % of the parameters, "
            f"{100 * macs:.1f} % of the multiply-adds"
        ]
        if self.latency is not None:
            before, after = 1e3 * self.latency.before[1], 1e3 * self.latency.after[1]
            lines.append(
                f"  {100 / self.latency.speedup:.1f} % of the run time with a batch of "
                f"{self.latency.batch} ({after:.3g} of {before:.3g} ms)"
            )
        width = max(len(group.name) for group in self.graph.groups)
        for group in self.graph.groups:
            stays = len(self.kept[group.name]) if group.prunable else group.size
            note = f"  frozen: {group.reason}" if group.reason else self._scale_words(group.name)
            lines.append(f"  {group.name:<{width}}  {stays:>5} of {group.size:<5}{note}")
        return "\n".join(lines)

    def _scale_words(self, name: str) -> str:
        found = self.scales.get(name)
        return "" if found is None else f"  scaled {found.min():.3g} to {found.max():.3g}"


def plan_for_cost(
    graph: ChannelGraph,
    scores: ChannelScores | None,
    budget: Budget,
    method: str = "pfp",
    *,
    multiple: int = 1,
    seed: int = 0,
) -> Plan:
    """Choose which units to keep so that a cost known from the graph is met.

    For the arguments and errors see `prunella.planning.make_plan`.
    """
    require_prunable(graph)
    if not isinstance(budget, Budget):
        raise InputError(
            f"the budget is {budget!r}; expected for instance Params(0.4) to keep 40 % of the "
            "parameters, Flops(0.5) to keep half of the multiply-adds, or Latency(0.6) to run in "
            "60 % of the time."
        )
    if multiple < 1:
        raise InputError(f"multiple must be at least 1, got {multiple}.")
    chosen = method_named(method)
    generator = torch.Generator().manual_seed(seed)
    known = fitting_scores(chosen, graph, scores)
    selection = chosen.select(graph, known, budget, multiple=multiple, generator=generator)
    used = known.samples if known is not None else SampleIds.none()
    return Plan.from_kept(
        graph,
        selection.kept,
        requested=budget,
        method=method,
        seed=seed,
        samples=used,
        scales=selection.scales,
    )


def _check_balance(graph: ChannelGraph, kept: Mapping[str, Tensor]) -> None:
    first: dict[str, ChannelGroup] = {}
    for group in graph.prunable:
        other = first.setdefault(group.balance, group) if group.balance else group
        if len(kept[group.name]) != len(kept[other.name]):
            raise InputError(
                f"groups {other.name!r} and {group.name!r} are parts of one axis and must keep "
                f"equal numbers of units, got {len(kept[other.name])} and "
                f"{len(kept[group.name])}."
            )


def _checked_scales(
    name: str,
    scales: Tensor | list[float],
    checked: Mapping[str, Tensor],
    given: Mapping[str, Tensor | list[int]],
) -> Tensor:
    """Scales as float64 in the order of the checked units, which are sorted."""
    if name not in checked:
        raise InputError(
            f"there are scales for {name!r}, which is no prunable group; prunable groups: "
            f"{', '.join(checked)}."
        )
    units = checked[name]
    values = torch.as_tensor(scales, dtype=torch.float64).cpu()
    if values.shape != units.shape or not bool((values.isfinite() & (values > 0)).all()):
        raise InputError(
            f"group {name!r}: scales must be one finite number above 0 for each of the "
            f"{len(units)} units that stay, got {values.numel()} numbers"
            f"{f' from {values.min():.3g} to {values.max():.3g}' if values.numel() else ''}."
        )
    return values[torch.as_tensor(given[name]).cpu().argsort()] if name in given else values


def _checked_units(graph: ChannelGraph, name: str, units: Tensor | list[int]) -> Tensor:
    groups = {group.name: group for group in graph.groups}
    if name not in groups:
        raise InputError(
            f"there is no group {name!r}; prunable groups: "
            f"{', '.join(group.name for group in graph.prunable)}."
        )
    group = groups[name]
    if not group.prunable:
        raise InputError(f"group {name!r} cannot be pruned: {group.reason}.")
    try:
        tensor = torch.as_tensor(units)
    except (RuntimeError, TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"group {name!r}: units to keep must be a list of integers ({error})."
        ) from None
    if tensor.numel() == 0:
        raise InputError(f"group {name!r}: at least one of {group.size} units must be kept.")
    if tensor.ndim != 1 or tensor.dtype.is_floating_point or tensor.dtype is torch.bool:
        raise InputError(
            f"group {name!r}: units to keep must be a list of integers, got {tensor.dtype} of "
            f"shape {tuple(tensor.shape)}."
        )
    kept: Tensor = tensor.to(torch.long).cpu().unique()
    if len(kept) != len(tensor):
        raise InputError(f"group {name!r}: {len(tensor) - len(kept)} units are named twice.")
    if int(kept[0]) < 0 or int(kept[-1]) >= group.size:
        raise InputError(
            f"group {name!r} has units 0 to {group.size - 1}, got {int(kept[0])} to "
            f"{int(kept[-1])}."
        )
    return kept
