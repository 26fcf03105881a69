"""Networks named on the command line."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

import prunella.networks
from prunella.core.errors import InputError


def build_network(
    name: str, arguments: Mapping[str, Any], *, classes: int, channels: int
) -> nn.Module:
    """Build a network by name.

    Args:
        name: One of `prunella.networks`, `torchvision:NAME`, `timm:NAME`, or
            `package.module:factory`.
        arguments: Keyword arguments for the factory; those win over the data set's.
        classes: Number of classes of the data set, passed if the factory takes `num_classes`.
        channels: Channels of its images, passed if the factory takes `in_channels`.

    Raises:
        InputError: there is no such network, or it cannot be built with these arguments.
    """
    factory = _factory(name)
    known = _parameters(factory)
    fitting = {"num_classes": classes, "in_channels": channels}
    keywords = {key: value for key, value in fitting.items() if key in known} | dict(arguments)
    try:
        network = factory(**keywords)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"network {name!r} cannot be built with {keywords}: {error}") from None
    if not isinstance(network, nn.Module):
        raise InputError(f"network {name!r}: the factory returned {type(network).__name__}, "
                         "expected a torch.nn.Module.")  # fmt: skip
    return network


def load_object(path: str, *, what: str) -> Any:
    """The object that `package.module:name` stands for.

    Raises:
        InputError: there is none.
    """
    module_name, _, attribute = path.partition(":")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except ImportError as error:
        raise InputError(
            f"{what} {path!r}: the module {module_name!r} cannot be imported ({error}); it must be "
            "installed or lie in the current folder."
        ) from None
    except AttributeError:
        raise InputError(f"{what} {path!r}: {module_name!r} has no {attribute!r}.") from None


def _factory(name: str) -> Callable[..., Any]:
    if ":" not in name:
        if name not in prunella.networks.__all__:
            raise InputError(
                f"network {name!r}: expected one of {', '.join(prunella.networks.__all__)}, "
                "torchvision:NAME, timm:NAME, or package.module:factory."
            )
        factory = getattr(prunella.networks, name)
    elif name.startswith("torchvision:"):
        factory = load_object(f"torchvision.models:{name.partition(':')[2]}", what="network")
    elif name.startswith("timm:"):
        create = load_object("timm:create_model", what="network")
        return lambda **keywords: create(name.partition(":")[2], **keywords)
    else:
        factory = load_object(name, what="network")
    if not callable(factory):
        raise InputError(f"network {name!r} is {type(factory).__name__}, expected a function.")
    result: Callable[..., Any] = factory
    return result


def _parameters(factory: Callable[..., Any]) -> set[str]:
    try:
        return set(inspect.signature(factory).parameters)
    except (TypeError, ValueError):
        return set()
