"""The layers that a cell is made of."""

from __future__ import annotations

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
