"""The state of an optimiser in one file, by the names of the parameters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from prunella.core.errors import FileError, InputError
from prunella.files.weights import read_tensors, save_tensors

FORMAT_VERSION = "1"

Options = dict[str, Any]

_MEMBERSHIP = ("params", "param_names")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Content:
    """What a file holds.

    Attributes:
        kind: Class name of the optimiser.
        members: Names of the parameters of each group.
        options: The other entries of each group.
        shapes: Shape of each parameter.
        state: The state of each parameter that has any.
    """

    kind: str
    members: tuple[tuple[str, ...], ...]
    options: tuple[Options, ...]
    shapes: Mapping[str, tuple[int, ...]]
    state: Mapping[str, Mapping[str, Any]]


def save_optimizer(path: str | Path, optimizer: Optimizer, model: nn.Module) -> None:
    """Write an optimiser's state and options as one safetensors file, atomically.

    State is stored under the dotted names of the parameters, so that it fits a model built anew.

    Args:
        path: Final name, usually ending in .safetensors.
        optimizer: Of some or all parameters of `model`.
        model: The model that it trains.

    Raises:
        InputError: the optimiser is of other parameters than the model's, or holds a piece of
            state or an option that is no tensor, number or text; names it.
        FileError: the file cannot be written.
    """
    names = _names(optimizer, model)
    tensors: dict[str, Tensor] = {}
    content = {
        "class": type(optimizer).__name__,
        "groups": _groups_to_data(optimizer, names, tensors),
        "shapes": {
            names[id(parameter)]: list(parameter.shape)
            for group in optimizer.param_groups
            for parameter in group["params"]
        },
        "state": _state_to_data(optimizer, names, tensors),
    }
    header = {"format": "pt", "prunella-optimizer": FORMAT_VERSION, "content": json.dumps(content)}
    save_tensors(Path(path), tensors, header)


def load_optimizer(path: str | Path, optimizer: Optimizer, model: nn.Module) -> None:
    """Read state and options of an optimiser into one that was built anew, in place.

    Args:
        path: A file written by `save_optimizer`.
        optimizer: Of the same class, with the same parameters in the same groups.
        model: The model that it trains, of the size it had when the file was written.

    Raises:
        InputError: the optimiser is of other parameters than the model's.
        FileError: the file is missing or damaged, or was made for another optimiser or model;
            names the first difference. The optimiser is then as it was.
    """
    names = _names(optimizer, model)
    content = _read(Path(path))
    _check_fits(content, optimizer, names, source=str(path))
    optimizer.state.clear()
    for group, options in zip(optimizer.param_groups, content.options, strict=True):
        group.update(options)
        for parameter in group["params"]:
            entry = content.state.get(names[id(parameter)])
            if entry is not None:
                optimizer.state[parameter] = {
                    key: _placed(value, parameter, group) for key, value in entry.items()
                }


def _names(optimizer: Optimizer, model: nn.Module) -> dict[int, str]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if id(parameter) not in names:
                raise InputError(
                    f"the {type(optimizer).__name__} has a parameter of shape "
                    f"{tuple(parameter.shape)} that is none of the given "
                    f"{type(model).__name__}'s; expected an optimiser of model.parameters()."
                )
    return names


# -- values as text and tensors ------------------------------------------------------------------


def _groups_to_data(
    optimizer: Optimizer, names: Mapping[int, str], tensors: dict[str, Tensor]
) -> list[dict[str, Any]]:
    groups = []
    for number, group in enumerate(optimizer.param_groups):
        options = {key: value for key, value in group.items() if key not in _MEMBERSHIP}
        where = f"group {number} of the {type(optimizer).__name__}"
        groups.append(
            {
                "parameters": [names[id(parameter)] for parameter in group["params"]],
                "options": _encoded(options, where, f"group {number}", tensors),
            }
        )
    return groups


def _state_to_data(
    optimizer: Optimizer, names: Mapping[int, str], tensors: dict[str, Tensor]
) -> dict[str, dict[str, Any]]:
    state = {}
    for owner, entry in optimizer.state.items():
        name = names.get(id(owner))
        if name is None:
            raise InputError(
                f"the {type(optimizer).__name__} keeps state that belongs to no parameter, which "
                "cannot be written under a parameter's name; remove it."
            )
        where = f"the optimiser's state of {name!r}"
        state[name] = _encoded(entry, where, f"state {name}", tensors)
    return state


def _encoded(
    values: Mapping[Any, Any], where: str, prefix: str, tensors: dict[str, Tensor]
) -> dict[str, Any]:
    """Plain data for some named values; tensors among them go into `tensors`."""
    encoded: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        if isinstance(key, str) and isinstance(value, Tensor):
            stored = f"{prefix} {key}"
            tensors[stored] = value
            encoded[key] = {"tensor": stored}
        elif isinstance(key, str) and isinstance(value, tuple) and _is_plain(value):
            encoded[key] = {"tuple": list(value)}
        elif isinstance(key, str) and _is_plain(value):
            encoded[key] = {"value": value}
        else:
            raise InputError(
                f"{where}: {key!r} is a {type(value).__name__}, which cannot be written to a "
                "file; expected a tensor, a number, text, or a tuple of such."
            )
    return encoded


def _is_plain(value: object) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_plain(item) and not isinstance(item, tuple) for item in value)
    return value is None or isinstance(value, (bool, int, float, str))


def _decoded(values: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    decoded: dict[str, Any] = {}
    for key, stored in values.items():
        ((kind, value),) = stored.items()
        if kind == "tensor":
            decoded[key] = tensors[value]
        elif kind == "tuple":
            decoded[key] = tuple(value)
        else:
            decoded[key] = value
    return decoded


def _read(path: Path) -> _Content:
    tensors, metadata = read_tensors(path)
    version = metadata.get("prunella-optimizer")
    if version is None:
        raise FileError(
            f"{path}: holds no optimiser; expected a file written by prunella.save_optimizer."
        )
    if version != FORMAT_VERSION:
        raise FileError(
            f"{path}: has format version {version}, this prunella reads {FORMAT_VERSION}; "
            "update prunella."
        )
    try:
        data = json.loads(metadata["content"])
        return _Content(
            kind=data["class"],
            members=tuple(tuple(group["parameters"]) for group in data["groups"]),
            options=tuple(_decoded(group["options"], tensors) for group in data["groups"]),
            shapes={name: tuple(shape) for name, shape in data["shapes"].items()},
            state={name: _decoded(entry, tensors) for name, entry in data["state"].items()},
        )
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise FileError(f"{path}: damaged ({error!r}). Write it again.") from None


# -- loading -------------------------------------------------------------------------------------


def _check_fits(
    content: _Content, optimizer: Optimizer, names: Mapping[int, str], *, source: str
) -> None:
    found = type(optimizer).__name__
    if content.kind != found:
        raise FileError(
            f"{source}: holds the state of {content.kind}, but the given optimiser is {found}; "
            "build the optimiser as it was when the file was written."
        )
    given = [[names[id(p)] for p in group["params"]] for group in optimizer.param_groups]
    for number, (stored, here) in enumerate(zip_longest(content.members, given, fillvalue=())):
        for name in dict.fromkeys([*stored, *here]):
            if (name in stored) != (name in here):
                side = "the file" if name in stored else "the given optimiser"
                raise FileError(
                    f"{source}: only in {side} is {name!r} in group {number} of the parameters; "
                    "build the optimiser as it was when the file was written."
                )
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            name, shape = names[id(parameter)], tuple(parameter.shape)
            if content.shapes.get(name) != shape:
                raise FileError(
                    f"{source}: was written when {name!r} had shape {content.shapes.get(name)}, "
                    f"but now it has shape {shape}; load it with the model it was saved with."
                )


def _placed(value: Any, parameter: Tensor, group: Mapping[str, Any]) -> Any:
    """A piece of state where the optimiser expects it: device and layout of its parameter."""
    if not isinstance(value, Tensor):
        return value
    if value.shape == parameter.shape and value.ndim:
        return torch.empty_like(parameter, dtype=value.dtype).copy_(value)
    # Step counts stay on the CPU, unless the update runs on the device as a whole.
    on_cpu = value.ndim == 0 and not (group.get("capturable") or group.get("fused"))
    return value if on_cpu else value.to(parameter.device)
