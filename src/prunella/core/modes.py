"""Leaving a user's model as it was found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def training_flags_restored(model: nn.Module) -> Iterator[None]:
    """Restore the training flag of every submodule on exit."""
    flags = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, flag in flags:
            module.training = flag


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Run in evaluation mode without gradients; flags are restored on exit."""
    with training_flags_restored(model), torch.no_grad():
        model.eval()
        yield
