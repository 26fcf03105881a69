"""From a result to the plain data that a report shows."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import torch

from prunella.core.budgets import Budget, Latency
from prunella.core.results import LayerReport, Report
from prunella.core.version import __version__

if TYPE_CHECKING:
    from prunella.pipeline.result import PruneResult


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What a result does not know about its own run.

    Attributes:
        title: Headline; by default the class of the model.
        command: Command line that makes the run again.
        config: The resolved configuration as text.
        files: File name to what it holds.
        environment: More rows for the table of the environment.
    """

    title: str = ""
    command: str = ""
    config: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


def build_report(result: PruneResult, facts: RunFacts) -> Report:
    """Everything a report shows, as plain data."""
    plan = result.plan
    requested = plan.requested
    walk = result.walk
    wanted = "chosen by hand" if requested is None else requested.words
    reached = None if requested is None else _reached(result, requested)
    if walk is not None:
        wanted, reached = walk.requested, walk.chosen is not None
    return Report(
        title=facts.title or plan.graph.model_type,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        command=facts.command,
        method=plan.method,
        requested=wanted,
        before=result.cost[0],
        after=result.cost[1],
        layers=_layers(result),
        accuracy=result.accuracy,
        latency=result.latency,
        certificate=result.certificate,
        training=_training(result),
        environment={**environment(), "seed": str(plan.seed), **facts.environment},
        config=facts.config,
        files=facts.files,
        notes=_notes(result),
        reached=reached,
        walk=walk,
        robustness=result.robustness,
    )


def _reached(result: PruneResult, requested: Budget | Latency) -> bool:
    if isinstance(requested, Latency):
        times = result.plan.latency
        return times is not None and 1 / times.speedup <= requested.fraction
    before, after = (requested.measure(cost) for cost in result.cost)
    return after <= requested.fraction * before


def environment() -> dict[str, str]:
    """Versions and device, for reports and run directories."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    return {
        "prunella": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
        "device": device,
        "threads": str(torch.get_num_threads()),
        "byte order": sys.byteorder,
    }


def _layers(result: PruneResult) -> tuple[LayerReport, ...]:
    layers = []
    for group in result.plan.graph.groups:
        kept = set(result.plan.kept[group.name].tolist()) if group.prunable else None
        known = result.scores.get(group.name) if result.scores is not None else None
        layers.append(
            LayerReport(
                name=group.name,
                kept=tuple(kept is None or unit in kept for unit in range(group.size)),
                scores=() if known is None else tuple(known.tolist()),
                reason=group.reason,
            )
        )
    return tuple(layers)


def _training(result: PruneResult) -> dict[str, tuple[float, ...]]:
    records = result.training
    if not records:
        return {}
    columns: dict[str, tuple[float, ...]] = {
        "epoch": tuple(float(record.epoch) for record in records),
        "loss": tuple(record.loss for record in records),
    }
    if all(record.accuracy == record.accuracy for record in records):  # NaN without labels
        columns["accuracy"] = tuple(record.accuracy for record in records)
    return columns


def _notes(result: PruneResult) -> tuple[str, ...]:
    notes = [
        "The network right after the cut was compared with the original whose removed channels "
        f"were masked: largest relative difference {result.difference:.1e}."
    ]
    requested, planned = result.plan.requested, result.plan.latency
    if isinstance(requested, Latency) and planned is not None:
        before, after = 1e3 * planned.before[1], 1e3 * planned.after[1]
        notes.append(
            f"While planning, the cut network took {after:.3g} of {before:.3g} ms with a batch of "
            f"{planned.batch}, {100 / planned.speedup:.1f} % of the run time; at most "
            f"{100 * requested.fraction:g} % was asked for."
        )
    if result.walk is not None and result.walk.chosen is None:
        notes = ["No candidate passed, so this report is about the original itself."]
    mixed = [
        group.name
        for group in result.plan.graph.prunable
        if not group.exact and len(result.plan.kept[group.name]) < group.size
    ]
    if mixed:
        notes.append(
            f"In that comparison {', '.join(mixed)} stayed whole: channels that a normalisation "
            "mixes can be removed, but what remains then is normalised differently."
        )
    scales = result.plan.scales
    if scales:
        every = torch.cat(list(scales.values()))
        span = f"{every.min():.3g} to {every.max():.3g}"
        notes.append(
            f"In {len(scales)} groups channels were drawn at random; the weights that read them "
            f"were scaled by {span}, so that the sums were right on average "
            "before the repair."
        )
    frozen = [group for group in result.plan.graph.groups if not group.prunable]
    if frozen:
        notes.append(
            f"{len(frozen)} of {len(result.plan.graph.groups)} groups of channels could not be "
            "pruned; the table of layers gives each reason."
        )
    return tuple(notes)
