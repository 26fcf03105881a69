"""Top-1 accuracy."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from prunella.core.batches import check_labels, read_batch
from prunella.core.errors import DataError
from prunella.core.modes import evaluating
from prunella.core.outputs import class_scores
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
        model: Maps inputs to logits (N, classes), see `logits_of`; run in evaluation mode.
        loader: Yields inputs with labels (N,), in any form that `read_batch` knows.
        progress: Reports batches.
        description: What the progress bar says.

    Raises:
        DataError: there are no samples, no labels, or labels out of range.
        InputError: the model returns no logits (N, classes).
    """
    correct = samples = 0
    device = next(model.parameters()).device
    with evaluating(model):
        for batch in progress(loader, description=description, total=length(loader)):
            labelled = read_batch(batch).to(device)
            labels = labelled.labels
            if labels is None:
                raise DataError("accuracy needs labels: the loader must yield (inputs, labels).")
            logits = class_scores(labelled.inputs.call(model), len(labelled))
            check_labels(labels, logits.shape[1])
            correct += int((logits.argmax(1) == labels).sum())
            samples += len(labelled)
    if samples == 0:
        raise DataError("the loader is empty; expected at least one sample.")
    return correct / samples, samples
