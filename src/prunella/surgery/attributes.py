"""Numbers that modules keep beside their tensors, brought in line with the tensors' shapes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

M = TypeVar("M", bound=nn.Module)
_REFRESH: list[tuple[type[nn.Module], Callable[[Any], None]]] = []


def refreshes(kind: type[M]) -> Callable[[Callable[[M], None]], Callable[[M], None]]:
    """Register how the attributes of one kind of module follow from its tensors."""

    def register(function: Callable[[M], None]) -> Callable[[M], None]:
        _REFRESH.append((kind, function))
        return function

    return register


def refresh_attributes(model: nn.Module) -> None:
    """Set `in_channels`, `num_features` and the like from the shapes the tensors have now."""
    for module in model.modules():
        for kind, function in _REFRESH:
            if isinstance(module, kind):
                function(module)


@refreshes(_ConvNd)
def _convolution(module: _ConvNd) -> None:
    first, second = module.weight.shape[:2]
    depthwise = module.groups > 1 and module.groups == module.in_channels
    if module.transposed:
        module.in_channels, module.out_channels = first, second * module.groups
        return
    if depthwise and second == 1:
        module.groups = first * module.in_channels // module.out_channels
    module.in_channels, module.out_channels = second * module.groups, first


@refreshes(nn.Linear)
def _linear(module: nn.Linear) -> None:
    module.out_features, module.in_features = module.weight.shape


@refreshes(_NormBase)
def _batch_norm(module: _NormBase) -> None:
    for tensor in (module.weight, module.running_mean):
        if tensor is not None:
            module.num_features = len(cast("Any", tensor))
            return


@refreshes(nn.PReLU)
def _prelu(module: nn.PReLU) -> None:
    module.num_parameters = len(module.weight)
