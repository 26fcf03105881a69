"""Copying modules."""

from __future__ import annotations

import copy
import copyreg
from collections import OrderedDict
from functools import cache
from typing import Any, TypeVar

from torch import nn
from torch.nn.modules.conv import _ConvNd

from prunella.ops.walks import modules_of

_ATOMS = frozenset((int, float, bool, str, type(None), complex, bytes, type))
_CONTAINERS = frozenset((dict, OrderedDict))
_HOOKS = frozenset(
    name
    for name, value in vars(nn.Module()).items()
    if type(value) in _CONTAINERS and name not in ("_parameters", "_buffers", "_modules")
)
# These fill in what states of older versions lack.
_PLAIN_SETTERS = (nn.Module.__setstate__, _ConvNd.__setstate__)
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
        made, state = known[id(module)], _copied_state(module, known)
        if type(module).__setstate__ in _PLAIN_SETTERS:
            object.__setattr__(made, "__dict__", state)
        else:
            made.__setstate__(state)
    copied: M = known[id(model)]
    return copied


def _copied_state(module: nn.Module, known: dict[int, Any]) -> dict[str, Any]:
    state = vars(module).copy()
    state.pop("_compiled_call_impl", None)  # as torch has it
    for name, value in state.items():
        kind = type(value)
        if kind in _ATOMS:
            continue
        if kind not in _CONTAINERS or value:
            state[name] = _copied(value, known)
        elif name in _HOOKS:  # a dozen in each module, which nothing else refers to
            state[name] = kind()
        else:
            state[name] = known[id(value)] if id(value) in known else kind()
            known[id(value)] = state[name]
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
            own = known.get(id(entry))
            if own is None:
                own = entry if type(entry) in _ATOMS else _copied(entry, known)
            made[key if type(key) in _ATOMS else _copied(key, known)] = own
        return made
    if kind is tuple and _ATOMS.issuperset(map(type, value)):
        return value
    if kind in (list, set) and _ATOMS.issuperset(map(type, value)):
        known[id(value)] = kind(value)
        return known[id(value)]
    return copy.deepcopy(value, known)
