"""What `prune` gives back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from prunella.core.certificates import Certificate
from prunella.core.results import Accuracies, Robustness, RunTimes
from prunella.core.types import ChannelScores, Cost
from prunella.core.walks import Walk
from prunella.files.atomic import write_atomically
from prunella.pipeline.reporting import RunFacts, build_report
from prunella.plans import Plan
from prunella.report import render
from prunella.retrain import EpochRecord


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class PruneResult:
    """The small network and all that is known about it.

    Attributes:
        model: The small network, an ordinary module.
        plan: What was kept; `save(path, result.model, result.plan)` writes both.
        certificate: None if no certification samples were given.
        accuracy: Top-1 at each stage.
        cost: Before and after.
        latency: One entry for each batch size asked for.
        scores: None for methods that use none.
        training: One record for each epoch of retraining.
        difference: Largest relative difference between the cut and the masked original.
        walk: Of `smallest`: the candidates that were tested; else None.
        robustness: On corrupted images; None if that was not asked for, or there are no images.
    """

    model: nn.Module
    plan: Plan
    certificate: Certificate | None
    accuracy: Accuracies
    cost: tuple[Cost, Cost]
    latency: tuple[RunTimes, ...]
    scores: ChannelScores | None
    training: tuple[EpochRecord, ...]
    difference: float
    walk: Walk | None = None
    robustness: Robustness | None = None

    def report(self, path: str | Path, facts: RunFacts | None = None) -> Path:
        """Write the HTML report, one self-contained file; returns its path."""
        target = Path(path)
        write_atomically(target, render(build_report(self, facts or RunFacts())))
        return target
