"""Copying modules."""

from __future__ import annotations

import copy
import copyreg
from collections import OrderedDict
from functools import cache
from typing import Any, TypeVar

from torch import nn

_ATOMS = frozenset((int, float, bool, str, type(None), complex, bytes, type))
_CONTAINERS = frozenset((dict, OrderedDict))
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
    own_ways = any("__deepcopy__" in vars(module) for module in modules)
    kinds = {type(module) for module in modules}
    if own_ways or not all(_is_copied_plainly(kind) for kind in kinds):  # type: ignore[arg-type]
        return copy.deepcopy(model, known)
    # All of them first, so that modules may refer to each other.
    new = [module for module in modules if id(module) not in known]
    for module in new:
        known[id(module)] = type(module).__new__(type(module))
    for module in new:
        known[id(module)].__setstate__(_copied_state(module, known))
    copied: M = known[id(model)]
    return copied


def _copied_state(module: nn.Module, known: dict[int, Any]) -> dict[str, Any]:
    state = {}
    for name, value in vars(module).items():
        kind = type(value)
        if kind in _ATOMS:
            state[name] = value
        elif kind in _CONTAINERS and not value:  # a dozen in each module, for hooks
            state[name] = known[id(value)] if id(value) in known else kind()
            known[id(value)] = state[name]
        else:
            state[name] = _copied(value, known)
    state.pop("_compiled_call_impl", None)  # as torch has it
    return state


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


def _copied(value: Any, known: dict[int, Any]) -> Any:
    found = known.get(id(value))
    if found is not None:
        return found
    kind = type(value)
    if kind in _CONTAINERS:
        made = known[id(value)] = kind()
        for key, entry in value.items():
            own = entry if type(entry) in _ATOMS else _copied(entry, known)
            made[key if type(key) in _ATOMS else _copied(key, known)] = own
        return made
    if kind is tuple and all(type(entry) in _ATOMS for entry in value):
        return value
    if kind in (list, set) and all(type(entry) in _ATOMS for entry in value):
        known[id(value)] = kind(value)
        return known[id(value)]
    return copy.deepcopy(value, known)
