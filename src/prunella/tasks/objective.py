"""What networks of sequences are trained for, and the figures they are judged by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from prunella.core.batches import Batch
from prunella.core.errors import DataError, InputError
from prunella.recurrent import BeliefLoss, classification_loss, regression_loss
from prunella.retrain import Assessment
from prunella.tasks.networks import Predictions

Figures = dict[str, tuple[float, int]]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Regression:
    """Gaussian log-likelihood of the mean prediction and, where there are any, of the particles.

    Without particles the loss is that of the mean alone. Figures, in units of the task squared:
    "mse", over all labelled steps and the first `judged` outputs; "loss_last" the same at the last
    step of each sequence, where every step has a label.

    Attributes:
        scale: What each output is multiplied by to be in the units of the task.
        sigma: Standard deviation of the labels around a prediction, for each output, not scaled.
        judged: The figures are those of so many outputs: the place, but not the heading.
        growth: A step counts exp(growth) times as much as the one before it.
        beta: Weight of the ELBO.
    """

    scale: tuple[float, ...]
    sigma: tuple[float, ...]
    judged: int
    growth: float
    beta: float

    def __call__(self, model: Any, batch: Batch) -> Assessment:
        """Loss and figures of one batch.

        Raises:
            DataError: the labels are no tensor of one row for each sequence or step.
            InputError: the network returns no predictions.
        """
        predictions, targets, mask = _read(model, batch)
        mean = predictions.mean
        every_step = targets.ndim == 3
        targets = targets if every_step else targets.unsqueeze(1)
        if targets.shape != mean.shape:
            raise DataError(
                f"labels have shape {tuple(targets.shape)} but predictions {tuple(mean.shape)}; "
                "expected one row of numbers for each step, or for each sequence of a network that "
                "predicts from its last step."
            )
        time = torch.arange(mean.shape[1], dtype=mean.dtype, device=mean.device)
        # The first steps of a long sequence would come to 0, which counts as no label.
        growth = torch.exp((self.growth * (time - time[-1])).clamp(min=-60.0))
        particles = predictions.particles
        loss = regression_loss(
            mean,
            mean.unsqueeze(-2) if particles is None else particles,
            targets,
            sigma=mean.new_tensor(self.sigma),
            beta=0.0 if particles is None else self.beta,
            mask=mask,
            time_weights=growth,
        )
        with torch.no_grad():
            figures = self._figures(mean, targets, mask, every_step=every_step)
        return Assessment(loss=loss.total, figures=figures)

    def _figures(
        self,
        mean: Tensor,  # (B, T, J)
        targets: Tensor,  # (B, T, J)
        mask: Tensor | None,  # (B, T)
        *,
        every_step: bool,
    ) -> Figures:
        scale = mean.new_tensor(self.scale)[: self.judged]
        errors = (mean - targets)[..., : self.judged] * scale
        squares = errors.double().square().mean(-1)  # (B, T)
        count = len(squares)
        if mask is None:
            last = squares[:, -1]
            figures: Figures = {"mse": (float(squares.sum()), squares.numel())}
        else:
            places = mask.sum(1) - 1
            last = squares[torch.arange(count, device=places.device), places]
            figures = {"mse": (float(squares[mask].sum()), int(mask.sum()))}
        if every_step:
            figures["loss_last"] = (float(last.sum()), count)
        return figures


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceClassification:
    """Cross entropy of the mean prediction and, where there are any, of the particles.

    Figure: "accuracy" of the mean prediction.

    Attributes:
        beta: Weight of the ELBO.
    """

    beta: float

    def __call__(self, model: Any, batch: Batch) -> Assessment:
        """Loss and figure of one batch.

        Raises:
            DataError: the labels are not one class for each sequence.
            InputError: the network returns no predictions, or one for each step.
        """
        predictions, labels, _ = _read(model, batch)
        steps = predictions.mean.shape[1]
        if steps != 1:
            raise InputError(
                f"the network predicts at {steps} steps; expected one prediction for each "
                "sequence, as from a SequenceNetwork with last=True."
            )
        logits, particles = predictions.mean[:, -1], predictions.particles
        if labels.shape != logits.shape[:1] or labels.dtype.is_floating_point:
            raise DataError(
                f"labels are {labels.dtype} of shape {tuple(labels.shape)}; expected one class for "
                f"each of {len(logits)} sequences."
            )
        loss: BeliefLoss = classification_loss(
            logits,
            logits.unsqueeze(-2) if particles is None else particles[:, -1],
            labels,
            beta=0.0 if particles is None else self.beta,
        )
        right = float((logits.argmax(-1) == labels).sum())
        return Assessment(loss=loss.total, figures={"accuracy": (right, len(labels))})


def _read(model: Any, batch: Batch) -> tuple[Predictions, Tensor, Tensor | None]:
    """Predictions, labels, and which steps are real, (B, T); None where all are."""
    predictions = batch.inputs.call(model)
    if not isinstance(predictions, Predictions):
        raise InputError(
            f"the network returns {type(predictions).__name__}; expected "
            "prunella.tasks.Predictions, as from a SequenceNetwork."
        )
    targets = batch.given_labels
    if not isinstance(targets, Tensor):
        raise DataError("training needs labels: the loader must yield pairs (inputs, labels).")
    lengths = batch.inputs.args[1] if len(batch.inputs.args) > 1 else None
    steps = predictions.mean.shape[1]
    if lengths is None or steps == 1:
        return predictions, targets, None
    places = torch.arange(steps, device=targets.device)
    return predictions, targets, places < lengths.unsqueeze(1)
