"""Networks named on the command line."""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

import prunella.networks
from prunella.core import inputs
from prunella.core.batches import read_batch
from prunella.core.errors import DataError, InputError, PrunellaError
from prunella.core.modes import evaluating
from prunella.core.outputs import class_scores
from prunella.data import ImageSet
from prunella.data.listed import ListedSet

_NOT_THEIRS = (__file__, inputs.__file__, str(Path(torch.__file__).parent),
               str(Path(importlib.__file__).parent), "<frozen importlib")  # fmt: skip


AnySet = ImageSet | ListedSet


def find_network(name: str) -> Callable[..., Any]:
    """The function that builds a network; nothing is built yet.

    Args:
        name: One of `prunella.networks`, `torchvision:NAME`, `timm:NAME`, or
            `package.module:factory`.

    Raises:
        InputError: there is no such network.
    """
    if ":" not in name:
        if name not in prunella.networks.__all__:
            raise InputError(
                f"network {name!r}: expected one of {', '.join(prunella.networks.__all__)}, "
                "torchvision:NAME, timm:NAME, or package.module:factory."
            )
        factory = getattr(prunella.networks, name)
    elif name.startswith("torchvision:"):
        path = f"torchvision.models:{name.partition(':')[2]}"
        factory = load_object(path, what="network", given=name)
    elif name.startswith("timm:"):
        create = load_object("timm:create_model", what="network", given=name)
        if not load_object("timm:is_model", what="network", given=name)(name.partition(":")[2]):
            raise InputError(f"network {name!r}: timm has no model of that name.")
        return lambda **keywords: create(name.partition(":")[2], **keywords)
    else:
        factory = load_object(name, what="network")
    if not callable(factory):
        raise InputError(
            f"network {name!r} is a {type(factory).__name__}, expected a function that returns a "
            "torch.nn.Module."
        )
    result: Callable[..., Any] = factory
    return result


def build_network(name: str, arguments: Mapping[str, Any], samples: AnySet) -> nn.Module:
    """Build a network by name, for the classes and channels of a data set.

    Args:
        name: See `find_network`.
        arguments: Keyword arguments for the factory; those win over the data set's.
        samples: Number of classes and of channels are passed if the factory takes `num_classes`
            and `in_channels`, where the samples are images.

    Raises:
        InputError: there is no such network, or it cannot be built with these arguments.
    """
    factory = find_network(name)
    known = _parameters(factory)
    fitting = {}
    if isinstance(samples, ImageSet):
        fitting = {"num_classes": len(samples.classes), "in_channels": samples.images.shape[1]}
    keywords = {key: value for key, value in fitting.items() if key in known} | dict(arguments)
    what = f"network {name!r}"
    if keywords:
        what += f" built with {', '.join(f'{key}={keywords[key]!r}' for key in keywords)}"
    network = call_own(factory, what=what, **keywords)
    if not isinstance(network, nn.Module):
        raise InputError(
            f"network {name!r}: the factory returned {type(network).__name__}, expected a "
            "torch.nn.Module."
        )
    return network


def require_fit(network: nn.Module, samples: AnySet) -> None:
    """Run one sample, so that a network of another shape is noticed before any work is done.

    Raises:
        InputError: the network cannot be run on the samples, or its outputs are no row of scores.
        DataError: there are more classes than outputs.
    """
    sample = read_batch(next(iter(samples.subset([0]).loader(1)))).inputs
    name = type(network).__name__
    with evaluating(network), torch.random.fork_rng():
        outputs = call_own(sample.call, network, what=f"{name} run on one of {samples.name}")
    logits = class_scores(outputs, 1, whose=name)
    if isinstance(samples, ImageSet) and logits.shape[1] < len(samples.classes):
        raise DataError(
            f"{samples.name}: has {len(samples.classes)} classes, but {name} has "
            f"{logits.shape[1]} outputs; expected at least as many outputs as classes. Check the "
            "data set, or the number of classes that the network was built with."
        )


def load_object(path: str, *, what: str, given: str = "") -> Any:
    """The object that `package.module:name` stands for; the current folder is searched first.

    Args:
        path: Module and name.
        what: "network" or "data", for messages.
        given: What the user wrote, if not the path.

    Raises:
        InputError: there is none.
    """
    module_name, _, attribute = path.partition(":")
    what = f"{what} {(given or path)!r}"
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)  # as `python -m` does, which an installed program does not
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and _is_part(error.name, module_name):
            extra = module_name.partition(".")[0] in ("torchvision", "timm")
            advice = (
                "pip install 'prunella[vision]'" if extra else "install it, or run in its folder"
            )
            raise InputError(f"{what}: there is no module {error.name!r}; {advice}.") from None
        raise InputError(
            f"{what}: the module {module_name!r} cannot be imported ({_cause(error)})."
        ) from None
    if not hasattr(module, attribute):
        raise InputError(f"{what}: the module {module_name!r} has no {attribute!r}.")
    return getattr(module, attribute)


def call_own(function: Callable[..., Any], *arguments: Any, what: str, **keywords: Any) -> Any:
    """Call a function that the user has named; what it raises becomes a message with the place.

    Raises:
        InputError: the function raised something.
    """
    try:
        return function(*arguments, **keywords)
    except PrunellaError:
        raise
    except Exception as error:
        raise InputError(f"{what}: failed with {_cause(error)}.") from None


def _cause(error: Exception) -> str:
    """The error, and the last line of the user's own code that led to it."""
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not frame.filename.startswith(_NOT_THEIRS)]
    place = f" at {theirs[-1].filename}:{theirs[-1].lineno}" if theirs else ""
    text = str(error)
    return f"{type(error).__name__}{': ' + text if text else ''}{place}"


def _is_part(missing: str | None, module_name: str) -> bool:
    """Whether the missing module is the wanted one or a package it lies in."""
    return missing is not None and f"{module_name}.".startswith(f"{missing}.")


def _parameters(factory: Callable[..., Any]) -> set[str]:
    try:
        return set(inspect.signature(factory).parameters)
    except (TypeError, ValueError):
        return set()
