"""Copying modules."""

from __future__ import annotations

import copy
import copyreg
from collections import OrderedDict
from functools import cache
from typing import Any, TypeVar

from torch import nn

_ATOMS = (int, float, bool, str, type(None), complex, bytes, type)
_CONTAINERS = (dict, OrderedDict)
M = TypeVar("M", bound=nn.Module)


def empty_containers(model: nn.Module) -> dict[int, object]:
    """Copies of the empty containers of all modules, by identity: a start for `copy.deepcopy`.

    Every module keeps a dozen of them for hooks; one by one they take most of the time of a copy.
    """
    return {
        id(value): type(value)()
        for module in model.modules()
        for value in vars(module).values()
        if type(value) in _CONTAINERS and not value
    }


def modules_of(model: nn.Module) -> list[nn.Module]:
    """As `model.modules()`, without a chain of generators as long as the model is deep."""
    found: dict[int, nn.Module] = {}
    ahead: list[nn.Module] = [model]
    while ahead:
        module = ahead.pop()
        if id(module) not in found:
            found[id(module)] = module
            children = module._modules.values()
            ahead.extend(reversed([child for child in children if child is not None]))
    return list(found.values())


def copy_module(
    model: M,
    known: dict[int, Any],  # identity of an object -> what stands for it in the copy
) -> M:
    """What `copy.deepcopy(model, known)` gives, in a fraction of its time.

    Modules are copied one by one without the general protocol, unless one of them has its own way
    of being copied. As with `deepcopy`, `known` holds the copies of all modules afterwards.
    """
    modules = modules_of(model)
    if not all(_is_copied_plainly(type(m)) and "__deepcopy__" not in vars(m) for m in modules):
        return copy.deepcopy(model, known)
    # All of them first, so that modules may refer to each other.
    new = [module for module in modules if id(module) not in known]
    for module in new:
        known[id(module)] = type(module).__new__(type(module))
    for module in new:
        known[id(module)].__setstate__(
            {name: _copied(value, known) for name, value in _state(module).items()}
        )
    copied: M = known[id(model)]
    return copied


@cache
def _is_copied_plainly(kind: type[nn.Module]) -> bool:
    """Whether a class leaves copying to the general protocol, and all its state in `__dict__`."""
    standard = all(
        getattr(kind, name, None) is getattr(nn.Module, name, None)
        for name in (
            "__deepcopy__", "__reduce_ex__", "__reduce__", "__getstate__", "__getnewargs__",
            "__getnewargs_ex__", "__new__",
        )
    )  # fmt: skip
    return (
        standard
        and kind not in copyreg.dispatch_table
        and not any(vars(base).get("__slots__") for base in kind.__mro__)
    )


def _state(module: nn.Module) -> dict[str, Any]:
    """What the general protocol copies: of Python 3.10 with older versions of torch, all of it."""
    take = getattr(module, "__getstate__", None)
    state: dict[str, Any] = vars(module) if take is None else take()
    return state


def _copied(value: Any, known: dict[int, Any]) -> Any:
    kind = type(value)
    if kind in _ATOMS:
        return value
    found = known.get(id(value))
    if found is not None:
        return found
    if kind in (tuple, list, set) and all(type(entry) in _ATOMS for entry in value):
        if kind is tuple:
            return value
        known[id(value)] = kind(value)
        return known[id(value)]
    if kind in _CONTAINERS:
        made = known[id(value)] = kind()
        for key, entry in value.items():
            made[key if type(key) in _ATOMS else _copied(key, known)] = _copied(entry, known)
        return made
    return copy.deepcopy(value, known)
