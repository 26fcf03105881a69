"""What a network must be better than: the same prediction whatever the inputs."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from prunella.tasks.networks import Predictions
from prunella.tasks.prepare import TaskData


@final
class ConstantPredictor(nn.Module):
    """Predicts the mean of the training targets, or the frequencies of the training classes."""

    def __init__(self, data: TaskData) -> None:
        super().__init__()
        samples = data.train
        if samples.classes:
            counts = torch.bincount(samples.targets, minlength=len(samples.outputs))
            constant = ((counts + 1) / (counts.sum() + len(counts))).log()
        else:
            constant = _labelled(samples.targets, samples.lengths).mean(0)
        self.constant = nn.Parameter(constant, requires_grad=False)
        self.last = samples.targets.ndim < 3

    def forward(
        self,
        x: Tensor,  # (B, T, ...)
        lengths: Tensor | None = None,  # (B,)
    ) -> Predictions:
        """The same at every step."""
        del lengths
        steps = 1 if self.last else x.shape[1]
        return Predictions(self.constant.expand(len(x), steps, -1))


def _labelled(
    targets: Tensor,  # (N, T, J) or (N, J)
    lengths: Tensor | None,  # (N,)
) -> Tensor:  # (M, J)
    if targets.ndim == 2:
        return targets
    if lengths is None:
        return targets.flatten(0, 1)
    return targets[torch.arange(targets.shape[1]) < lengths.unsqueeze(1)]
