"""Top-1 accuracy."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from prunella.core.batches import check_labels, split_batch
from prunella.core.errors import DataError
from prunella.core.modes import evaluating
from prunella.core.progress import Progress, length, silent


def accuracy(
    model: nn.Module,
    loader: Iterable[object],
    *,
    progress: Progress = silent,
    description: str = "accuracy",
) -> tuple[float, int]:
    """Share of samples whose top class is the label, and the number of samples.

    Args:
        model: Maps inputs (N, ...) to logits (N, classes); run in evaluation mode.
        loader: Yields pairs of inputs and labels (N,).
        progress: Reports batches.
        description: What the progress bar says.

    Raises:
        DataError: there are no samples, no labels, or labels out of range.
    """
    correct = samples = 0
    device = next(model.parameters()).device
    with evaluating(model):
        for batch in progress(loader, description=description, total=length(loader)):
            labelled = split_batch(batch).to(device)
            if labelled.labels is None:
                raise DataError("accuracy needs labels: the loader must yield (inputs, labels).")
            logits = model(labelled.inputs)
            check_labels(labelled.labels, logits.shape[1])
            correct += int((logits.argmax(1) == labelled.labels).sum())
            samples += len(labelled)
    if samples == 0:
        raise DataError("the loader is empty; expected at least one sample.")
    return correct / samples, samples
