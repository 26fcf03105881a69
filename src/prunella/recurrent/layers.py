"""The layers that a cell is made of."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prunella.recurrent.kernels import SLOPE

Factory = dict[str, object]


def linear(inputs: int, outputs: int, factory: Factory, *, bias: bool = True) -> nn.Linear:
    """A linear layer on the device and in the type of the factory."""
    return nn.Linear(inputs, outputs, bias=bias, **factory)


def feature_map(inputs: int, outputs: int | None, factory: Factory) -> nn.Module:
    """A linear layer for `features`, or None for the inputs themselves."""
    return nn.Identity() if outputs is None else linear(inputs, outputs, factory)


def features(
    layer: nn.Module,
    inputs: Tensor,  # (*, D)
) -> Tensor:  # (*, F)
    """LeakyReLU of the layer, or the inputs where there is none."""
    return inputs if isinstance(layer, nn.Identity) else F.leaky_relu(layer(inputs), SLOPE)


def weighted(
    numbers: Tensor,  # (A, B, F)
    weights: Tensor,  # (F,)
) -> Tensor:  # (A, B)
    """Weighted sums, in the type of the numbers under autocast too: scores are not rounded."""
    with torch.autocast(numbers.device.type, enabled=False):
        sums = torch.mv(numbers.flatten(0, 1), weights.to(numbers.dtype))
    return sums.view(numbers.shape[:2])
