"""An optimiser that goes on after a cut: its state sliced like the parameters it belongs to."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils._pytree import keystr, tree_flatten_with_path

from prunella.core.errors import InputError
from prunella.core.positions import removed_positions, shape_without
from prunella.core.types import ChannelGraph
from prunella.surgery.apply import check_architecture, without

T = TypeVar("T")
AnyOptimizer = TypeVar("AnyOptimizer", bound=Optimizer)
Removed = Mapping[str, Mapping[int, Tensor]]  # parameter -> axis -> positions

_PLAIN = (bool, int, float, complex, str, type(None))


def sliced_optimizer(
    optimizer: AnyOptimizer,
    graph: ChannelGraph,
    kept: Mapping[str, Tensor],  # group name -> (kept,) sorted int64
    *,
    model: nn.Module,
    small: nn.Module,
) -> AnyOptimizer:
    """An optimiser of the small model's parameters that continues the one of the model's.

    It is a copy of the optimiser in which each parameter and each tensor of state is replaced by
    its slice, not an object built anew: no constructor has to be guessed, and flags, options and
    number types stay as they are.

    Raises:
        InputError: see `prunella.slice_optimizer`.
    """
    check_architecture(model, graph)
    removed = removed_positions(graph, kept)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    _check_ownership(optimizer, names, model)
    # What `deepcopy` finds here by identity it takes as the copy.
    replaced: dict[int, Any] = _partners(model, small, removed)
    for owner, entry in optimizer.state.items():
        name = names.get(id(owner))
        if name is None:
            raise InputError(
                f"the {type(optimizer).__name__} keeps state under "
                f"{owner if isinstance(owner, str) else type(owner).__name__!r}, which is no "
                "parameter of the model, so that no slice of it is known; remove it."
            )
        for where, leaf in _leaves(entry):
            if _has_positions(leaf, owner, f"optimiser state {where} of {name!r}"):
                replaced[id(leaf)] = without(leaf, removed.get(name, {}))
    continued = _copied(optimizer, replaced, f"the {type(optimizer).__name__}")
    for attribute, value in _other_attributes(optimizer, continued):
        where = f"the attribute {attribute!r} of the {type(optimizer).__name__}"
        setattr(continued, attribute, _copied(value, replaced, where))
    return continued


def _check_ownership(optimizer: Optimizer, names: Mapping[int, str], model: nn.Module) -> None:
    for number, group in enumerate(optimizer.param_groups):
        for place, parameter in enumerate(group["params"]):
            if id(parameter) not in names:
                raise InputError(
                    f"parameter {place} of group {number} of the {type(optimizer).__name__}, of "
                    f"shape {tuple(parameter.shape)}, is none of the given "
                    f"{type(model).__name__}'s; expected an optimiser of model.parameters(), of "
                    "the same model object that is given and cut."
                )


def _partners(model: nn.Module, small: nn.Module, removed: Removed) -> dict[int, Any]:
    """The small model's parameter for each parameter of the model, by identity."""
    found = dict(small.named_parameters())
    partners = {}
    for name, parameter in model.named_parameters():
        left = shape_without(tuple(parameter.shape), removed.get(name, {}))
        partner = found.pop(name, None)
        if partner is None or tuple(partner.shape) != left:
            has = "does not have it" if partner is None else f"has shape {tuple(partner.shape)}"
            raise InputError(
                f"the plan leaves the parameter {name!r} with shape {left}, but the given small "
                f"{type(small).__name__} {has}; give the model that was made with this plan."
            )
        partners[id(parameter)] = partner
    for name in found:
        raise InputError(
            f"the given small {type(small).__name__} has a parameter {name!r} that the "
            f"{type(model).__name__} does not have; give the model that was made with this plan."
        )
    return partners


def _leaves(entry: object) -> list[tuple[str, Any]]:
    return [(keystr(path), leaf) for path, leaf in tree_flatten_with_path(entry)[0]]


def _has_positions(leaf: object, parameter: Tensor, where: str) -> bool:
    """Whether a piece of state has one number for each of the parameter's; False if one for all."""
    if isinstance(leaf, Tensor):
        if leaf.shape == parameter.shape:
            return True
        if leaf.numel() == 1:
            return False
    elif isinstance(leaf, _PLAIN):
        return False
    what = f"shape {tuple(leaf.shape)}" if isinstance(leaf, Tensor) else f"a {type(leaf).__name__}"
    raise InputError(
        f"{where}: {what}; expected the parameter's shape {tuple(parameter.shape)} or a single "
        "number, because nothing else can be sliced with the parameter. Use an optimiser that "
        "works on each element by itself, or begin with a new one."
    )


def _other_attributes(optimizer: Optimizer, continued: Optimizer) -> Iterator[tuple[str, Any]]:
    """What a subclass keeps beside state and groups, which torch leaves out of a copy.

    Not what hides a method of the class: a learning-rate scheduler puts a `step` there that is
    bound to the old object.
    """
    for attribute, value in vars(optimizer).items():
        if attribute not in vars(continued) and not hasattr(type(optimizer), attribute):
            yield attribute, value


def _copied(value: T, replaced: dict[int, Any], where: str) -> T:
    known = set(replaced)
    try:
        result = copy.deepcopy(value, replaced)
    except (TypeError, RuntimeError, NotImplementedError, ValueError) as error:
        raise InputError(f"{where} cannot be copied ({error}).") from error
    # `deepcopy` notes what it copied. A tensor that is new there is no parameter's state.
    for key, found in replaced.items():
        if key not in known and isinstance(found, Tensor) and found.numel() > 1:
            raise InputError(
                f"{where}: holds a tensor of shape {tuple(found.shape)} outside the state of its "
                "parameters, so that no slice of it is known. Begin with a new optimiser."
            )
    return result
