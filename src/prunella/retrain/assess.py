"""Loss and figures of a model on samples, by an objective."""

from __future__ import annotations

from collections.abc import Iterable
from typing import final

import torch
from torch import nn
from torch.utils.data import DataLoader

from prunella.core.batches import read_batch
from prunella.core.errors import DataError
from prunella.core.modes import evaluating
from prunella.core.progress import Progress, length, silent
from prunella.retrain.objectives import Assessment, Objective


def assess(
    model: nn.Module,
    loader: Iterable[object],
    objective: Objective,
    *,
    seed: int,
    progress: Progress = silent,
) -> dict[str, float]:
    """Mean loss and figures over all samples, in evaluation mode and without gradients.

    Noise inside of the model depends on the seed alone; torch's global generator is left as it was
    found.

    Args:
        model: What the objective runs; training flags are restored.
        loader: Yields batches in any form that `read_batch` knows.
        objective: Judges them.
        seed: Any integer.
        progress: Reports batches.

    Returns:
        "loss" and the figures of the objective, by name.

    Raises:
        DataError: there are no samples.
    """
    tally = Tally()
    device = next(model.parameters()).device
    with evaluating(model), torch.random.fork_rng():
        seed_epoch(loader, seed=seed, epoch=0)  # epochs of training are counted from 1
        for batch in progress(loader, description="held-out samples", total=length(loader)):
            read = read_batch(batch).to(device)
            tally.add(objective(model, read), len(read))
    if not tally.samples:
        raise DataError("there are no samples to assess the model on; expected at least one batch.")
    return tally.means()


@final
class Tally:
    """Running sums over batches."""

    def __init__(self) -> None:
        self.loss = 0.0
        self.samples = 0
        self.sums: dict[str, tuple[float, int]] = {}

    def add(self, assessment: Assessment, count: int) -> None:
        """Count one batch of so many samples."""
        self.loss += float(assessment.loss.detach()) * count
        self.samples += count
        for name, (total, terms) in assessment.figures.items():
            before = self.sums.get(name, (0.0, 0))
            self.sums[name] = (before[0] + total, before[1] + terms)

    def means(self) -> dict[str, float]:
        """Loss and figures; a figure of no terms has no mean and is left out."""
        figures = {name: total / terms for name, (total, terms) in self.sums.items() if terms}
        return {"loss": self.loss / self.samples, **figures}


def seed_epoch(loader: Iterable[object], *, seed: int, epoch: int) -> None:
    """Seed torch's global generator, and that of the loader, for one pass."""
    # A product with a large odd number keeps the streams of neighbouring seeds apart.
    mixed = (seed * 1_000_003 + epoch) % 2**63
    torch.manual_seed(mixed)
    if isinstance(loader, DataLoader) and isinstance(loader.generator, torch.Generator):
        loader.generator.manual_seed(mixed)
