"""What a network is trained to make small, and what is counted on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prunella.core.batches import Batch, check_labels
from prunella.core.errors import DataError
from prunella.core.modes import evaluating
from prunella.core.outputs import class_scores, logits_of
from prunella.retrain.recipe import Recipe

_NO_CLASSES = (torch.bool, torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Assessment:
    """What an objective says of one batch.

    Attributes:
        loss: (), mean over the samples; with gradients where the model has them.
        figures: Name to a sum, and the number of terms in it. The figure of an epoch is the sum
            over its batches divided by the number of all terms.
    """

    loss: Tensor
    figures: Mapping[str, tuple[float, int]] = field(default_factory=dict)


class Objective(Protocol):
    """Runs a model on a batch and judges what it returns.

    It calls the model, and reads nothing else of it: while it trains, the model is wrapped. It
    draws from torch's global generator alone, which the training loop seeds for every epoch.
    """

    def __call__(self, model: Any, batch: Batch) -> Assessment:
        """Loss and figures of one batch."""
        ...


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Classification:
    """Cross entropy of logits (N, classes) with labels (N,).

    Attributes:
        label_smoothing: Share of the target that is spread evenly over all classes.

    Raises:
        DataError: there are no labels, or they do not fit the outputs.
        InputError: the outputs hold no class scores.
    """

    label_smoothing: float = 0.0

    def __call__(self, model: Any, batch: Batch) -> Assessment:
        """Loss, and the figure "accuracy"."""
        logits = logits_of(batch.inputs.call(model))
        class_scores(logits, len(batch))
        labels = _checked(batch, logits)
        if labels is None:
            raise DataError("training needs labels: the loader must yield pairs (inputs, labels).")
        loss = F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        return Assessment(loss=loss, figures=_accuracy(logits, labels))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Distillation:
    """Mean squared difference from a teacher's logits, of any shape; needs no labels.

    Source: Ba and Caruana, "Do deep nets really need to be deep?", NeurIPS 2014.

    Attributes:
        teacher: Run in evaluation mode, without gradients; not changed.
    """

    teacher: nn.Module

    def __call__(self, model: Any, batch: Batch) -> Assessment:
        """Loss, and the figure "accuracy" where there are labels of classes."""
        logits = logits_of(batch.inputs.call(model))
        # Labels of other kinds (of each token, say) are no mistake, since they are not learnt from.
        known = logits.ndim == 2 and _is_of_classes(batch)
        labels = _checked(batch, logits) if known else None
        with evaluating(self.teacher):
            target = logits_of(batch.inputs.call(self.teacher), whose="the teacher")
        figures = {} if labels is None else _accuracy(logits, labels)
        return Assessment(loss=F.mse_loss(logits, target), figures=figures)


def objective_of(recipe: Recipe, teacher: nn.Module | None) -> Classification | Distillation:
    """The objective of a recipe: a teacher's outputs if there is one, labels if not."""
    if teacher is not None:
        return Distillation(teacher=teacher)
    return Classification(label_smoothing=recipe.label_smoothing)


def _accuracy(
    logits: Tensor,  # (N, classes)
    labels: Tensor,  # (N,)
) -> dict[str, tuple[float, int]]:
    return {"accuracy": (float((logits.argmax(1) == labels).sum()), len(labels))}


def _checked(batch: Batch, logits: Tensor) -> Tensor | None:
    labels = batch.labels
    if labels is not None:
        check_labels(labels, logits.shape[1])
    return labels


def _is_of_classes(batch: Batch) -> bool:
    given = batch.given_labels
    return not isinstance(given, Tensor) or (given.ndim == 1 and given.dtype not in _NO_CLASSES)
