"""Numbers that modules keep and their code splits by."""

from __future__ import annotations

import contextlib
from typing import TypeGuard, cast

from torch import nn

from prunella.core.errors import InputError
from prunella.core.types import Width


def narrow(model: nn.Module, width: Width, removed: int) -> None:
    """Take what removed units no longer need off a number, or off one of several.

    Raises:
        InputError: the model has no such number.
    """
    path, _, name = width.attribute.rpartition(".")
    owner = _submodule(model, path)
    value = vars(owner).get(name) if owner is not None else None
    if type(value) is int and width.place < 0:
        setattr(owner, name, value - width.step * removed)
    elif _are_numbers(value) and 0 <= width.place < len(value):
        numbers = [n - width.step * removed * (i == width.place) for i, n in enumerate(value)]
        setattr(owner, name, type(value)(numbers))
    else:
        raise InputError(
            f"the plan counts on a number {width.attribute!r} that the given "
            f"{type(model).__name__} does not have; build the model with the same factory and "
            "arguments."
        )


def _are_numbers(value: object) -> TypeGuard[tuple[int, ...] | list[int]]:
    return type(value) in (tuple, list) and all(type(n) is int for n in cast("list[int]", value))


def _submodule(model: nn.Module, path: str) -> nn.Module | None:
    with contextlib.suppress(AttributeError):
        return model.get_submodule(path)
    return None
