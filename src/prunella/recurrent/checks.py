"""Checks of what a recurrent network is built with."""

from __future__ import annotations

import torch
from torch import Tensor

from prunella.core.errors import InputError
from prunella.recurrent.belief import Belief

_CHOICES = {
    "resampling": ("always", "ess", "never"),
    "scheme": ("multinomial", "systematic"),
    "norm": ("feature", "slot", "none"),
    "activation": ("leaky_relu", "relu", "tanh"),
    "initial": ("uniform", "zeros"),
}


def check_sizes(**sizes: int | None) -> None:
    """Raise InputError unless every size is a whole number of at least 1, or None."""
    for name, size in sizes.items():
        whole = isinstance(size, int) and not isinstance(size, bool)
        if size is not None and not (whole and size >= 1):
            raise InputError(f"{name} is {size!r}; expected a whole number of at least 1.")


def check_choices(**chosen: str) -> None:
    """Raise InputError for a word that is none of the choices of its option."""
    for name, word in chosen.items():
        if word not in _CHOICES[name]:
            raise InputError(f"{name} is {word!r}; expected one of {', '.join(_CHOICES[name])}.")


def check_shares(**shares: float) -> None:
    """Raise InputError unless every share lies in [0, 1]."""
    for name, share in shares.items():
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share <= 1:
            raise InputError(f"{name} is {share!r}; expected a number from 0 to 1.")


def require_generator(what: str, generator: torch.Generator | None, *, needed: bool) -> None:
    """Raise InputError where a deterministic network would make the same draws once more."""
    if needed and generator is None:
        raise InputError(
            f"{what}: the network is deterministic and no generator is given; the draws of before "
            "would be made again. Pass generator=prunella.recurrent.fixed_generator(), the same "
            "object every time."
        )


def check_type(inputs: Tensor, weight: Tensor) -> None:
    """Raise InputError where inputs are of another type than the weights, outside of autocast."""
    free = torch.is_autocast_enabled(inputs.device.type)
    if inputs.dtype != weight.dtype and not free:
        raise InputError(
            f"x has type {inputs.dtype} and the network {weight.dtype}; bring one to the type of "
            f"the other, for instance with x.to({weight.dtype})."
        )


def check_belief(
    belief: Belief, *, batch: int, hidden_size: int, slots: int | None, memory: bool
) -> None:
    """Raise InputError unless a belief fits a network and a batch."""
    if not isinstance(belief, Belief):
        raise InputError(
            f"the belief is a {type(belief).__name__}; expected a Belief, which forward, step and "
            "initial_belief return."
        )
    shape = tuple(belief.particles.shape)
    if len(shape) != 3 or shape[0] != batch or shape[2] != hidden_size:
        raise InputError(
            f"the belief has particles of shape {shape}; expected (B, K, H) with B = {batch} and "
            f"H = {hidden_size}."
        )
    if slots is not None and shape[1] != slots:
        raise InputError(
            f"the belief has {shape[1]} particles; expected {slots}, which norm='slot' fixes. "
            "Networks with norm='feature' or 'none' take any number."
        )
    if (belief.memory is not None) != memory:
        raise InputError(
            f"the belief has {'no ' if memory else ''}memory; expected "
            f"{'the cell states of a PF-LSTM' if memory else 'none, as a PF-GRU has none'}."
        )
