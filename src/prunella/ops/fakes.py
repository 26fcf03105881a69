"""Running a model on tensors that have shapes but no memory."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from typing import cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeCopyMode,
    FakeTensorMode,
    UnsupportedFakeTensorException,
    UnsupportedOperatorException,
)

from prunella.core.inputs import Inputs

NEEDS_VALUES: tuple[type[Exception], ...] = (
    DataDependentOutputException,
    DynamicOutputShapeException,
    UnsupportedFakeTensorException,
    UnsupportedOperatorException,
)
"""Raised where a model's path depends on values, which fake tensors do not have."""


def evaluation_copy(
    model: nn.Module, inputs: Inputs, *, fake_mode: FakeTensorMode | None
) -> tuple[nn.Module, Inputs]:
    """A copy of the model in evaluation mode, and inputs on its device; on fake tensors if asked.

    On the meta device, where there are no values to compute with, only fakes will do.
    """
    with nullcontext() if fake_mode is None else FakeCopyMode(fake_mode):
        copied = copy.deepcopy(model)
    copied.eval()
    first = next(model.parameters(), None)
    device = torch.device("cpu") if first is None else first.device

    def moved(leaf: Tensor) -> Tensor:
        there = leaf.to(device)
        return there if fake_mode is None else cast("Tensor", fake_mode.from_tensor(there))

    return copied, inputs.map(moved)
