"""Leaving a user's model as it was found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

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


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Run in the tensors' own types, even where the user's training loop has `autocast` on.

    Autocast runs layers on converted copies of their weights, which are no longer recognised as
    the model's, and rounds what is measured.
    """
    if not torch.amp.is_autocast_available(device.type):  # the meta device, for instance
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


@contextmanager
def attention_in_parts() -> Iterator[None]:
    """Run `nn.MultiheadAttention` step by step; its fused form hides its matrix products."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)
