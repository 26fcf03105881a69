"""Copying modules."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn


def empty_containers(model: nn.Module) -> dict[int, object]:
    """Copies of the empty containers of all modules, by identity: a start for `copy.deepcopy`.

    Every module keeps a dozen of them for hooks; one by one they take most of the time of a copy.
    """
    return {
        id(value): type(value)()
        for module in model.modules()
        for value in vars(module).values()
        if type(value) in (dict, OrderedDict) and not value
    }
