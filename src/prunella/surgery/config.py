"""A model's configuration object, brought in line with a cut.

Many models are built from one object of numbers, and their files hold it beside the tensors. Which
of its numbers a cut concerns is not known beforehand, so candidates are tried until a model that is
built from the object, on the meta device, has the very shapes of the small one.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import nn

from prunella.core.errors import ConfigWarning

Setting = dict[str, int]  # attribute of the configuration -> its new value

_HEAD_WIDTH = "head_dim"
_OPTIONAL = ("n_inner", "intermediate_size")  # widths that follow from others while they are None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fit:
    """How far a model built with a setting is from the wanted one; 0 is equality."""

    setting: Setting
    distance: float
    words: str


def follow_config(model: nn.Module, small: nn.Module) -> None:
    """Make `type(small)(small.config)` build a model of the small model's shapes, if it can.

    Nothing happens if the model has no `config`, or is not built from it. If no numbers in it
    describe the small model, it stays as it was, and a `ConfigWarning` says what does not fit.

    Args:
        model: Before the cut; untouched.
        small: Its cut copy, with a configuration of its own, which is changed.
    """
    config = getattr(small, "config", None)
    if isinstance(config, nn.Module) or not hasattr(config, "__dict__"):
        return
    before, after = _shapes(model), _shapes(small)
    if before == after:
        return
    if _fit(model, {}).distance:
        return  # it is built in some other way
    fit = _search(small, _changes(before, after))
    if fit.distance:
        warnings.warn(
            f"the config of {type(small).__name__} cannot describe the small model and stays as "
            f"it was: {fit.words}. Either layers were cut unequally: trace with "
            "equal_layers=True. Or the config has no number of its own for this width: exclude "
            "that layer. prunella.save and prunella.load need no config.",
            ConfigWarning,
            stacklevel=2,
        )
        return
    old = {name: getattr(config, name, None) for name in fit.setting}
    for owner in _configs(small):
        for name, value in fit.setting.items():
            if getattr(owner, name, None) == old[name]:
                setattr(owner, name, value)


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def _configs(model: nn.Module) -> Iterator[Any]:
    """Each configuration object of the model and its parts once."""
    found = [vars(module).get("config") for module in model.modules()]
    yield from {id(config): config for config in found if config is not None}.values()


def _changes(
    before: dict[str, tuple[int, ...]], after: dict[str, tuple[int, ...]]
) -> list[tuple[int, int]]:
    """Lengths of axes before and after, each pair once."""
    pairs = [
        pair
        for name, shape in after.items()
        for pair in zip(before[name], shape, strict=True)
        if pair[0] != pair[1]
    ]
    return list(dict.fromkeys(pairs))


# -- candidates ----------------------------------------------------------------------------------


def _search(small: nn.Module, changes: list[tuple[int, int]]) -> _Fit:
    """The setting that comes nearest; with the width of heads held fast if it must be."""
    moves = _moves(small.config, changes)
    fits = []
    for start in ({}, _head_width(small)):
        fit = _fit(small, start)
        fits.append(_climb(small, fit, moves))
        if not fits[-1].distance:
            break
    return min(fits, key=lambda fit: fit.distance)


def _climb(small: nn.Module, fit: _Fit, moves: list[Setting]) -> _Fit:
    """Take moves as long as one brings the model nearer."""
    while fit.distance:
        before = fit.distance
        for move in moves:
            found = _fit(small, {**fit.setting, **move})
            if found.distance < fit.distance:
                fit = found
        if fit.distance == before:
            break
    return fit


def _moves(config: Any, changes: list[tuple[int, int]]) -> list[Setting]:
    """Numbers of heads, which shrink all in proportion, and single widths."""
    numbers = {name: value for name, value in vars(config).items() if type(value) is int}
    moves: list[Setting] = []
    for ratio in dict.fromkeys(Fraction(new, old) for old, new in changes):
        heads = {
            name: int(value * ratio)
            for name, value in numbers.items()
            if "head" in name and "dim" not in name and (value * ratio).denominator == 1
        }
        moves.extend([heads] if heads else [])
    for old, new in changes:
        moves += [{name: new} for name, value in numbers.items() if value == old]
        moves += [{name: new} for name in _OPTIONAL if getattr(config, name, old) is None]
    return moves


def _head_width(small: nn.Module) -> Setting:
    """The width of a head as an entry of its own, where the configuration leaves it open."""
    found = {vars(module).get(_HEAD_WIDTH) for module in small.modules()}
    widths = {width for width in found if type(width) is int}
    if len(widths) != 1 or getattr(small.config, _HEAD_WIDTH, None) is not None:
        return {}
    return dict.fromkeys((_HEAD_WIDTH,), widths.pop())


# -- trying one ----------------------------------------------------------------------------------


def _fit(model: nn.Module, setting: Setting) -> _Fit:
    """Compare the model with one that is built from its configuration with some numbers set."""

    def apart(distance: float, words: str) -> _Fit:
        return _Fit(setting=setting, distance=distance, words=words)

    try:
        built = _built(model, setting)
    except Exception as error:  # a constructor may refuse what does not fit together
        return apart(math.inf, f"a model cannot be built from it ({error})")
    found, wanted = _shapes(built), _shapes(model)
    if found.keys() != wanted.keys():
        return apart(math.inf, "a model built from it has other tensors")
    differ = [
        sum(a != b for a, b in zip(found[name], shape, strict=False))
        + abs(len(found[name]) - len(shape))
        for name, shape in wanted.items()
    ]
    for name, shape in wanted.items():
        if found[name] != shape:
            words = f"{name!r} would have shape {found[name]}, but has {shape}"
            return apart(sum(differ), words)
    if _heads(built) != _heads(model):
        return apart(0.5, "the heads of attention would have another width")
    refusal = _refusal(getattr(built, "config", None))
    return apart(0.25 if refusal else 0, refusal)


def _refusal(config: Any) -> str:
    """Why the configuration's own check, which it makes when it is written, refuses it."""
    check = getattr(config, "validate", None)
    try:
        if callable(check):
            check()
    except Exception as error:  # of a class that is not known here
        return f"its own check refuses {' '.join(str(error).split())}"
    return ""


def _built(model: nn.Module, setting: Setting) -> nn.Module:
    config = copy.deepcopy(model.config)
    for name, value in setting.items():
        setattr(config, name, value)
    quiet = warnings.catch_warnings()
    with quiet, torch.random.fork_rng(devices=[]), torch.device("meta"):
        warnings.simplefilter("ignore")
        return type(model)(config)


def _heads(model: nn.Module) -> dict[tuple[str, str], int]:
    """All numbers that modules keep about heads."""
    return {
        (path, name): value
        for path, module in model.named_modules()
        for name, value in vars(module).items()
        if type(value) is int and "head" in name
    }
