"""Calls of layers as a sensitivity pass sees them, and every way to search them."""

from __future__ import annotations

import numpy as np
import torch

from prunella.ops import CallWatcher, StoredTensors, contraction_of
from prunella.sensitivity import compiled, kernels
from prunella.sensitivity.backlog import Seen
from prunella.sensitivity.kernels import Prepared, Reader, raised

# Without Numba the loops run as they are: slow, and the same.
WAYS = ("torch", "compiled" if compiled.available() else "loops")


class Catcher(CallWatcher):
    def __init__(self, layer):
        super().__init__()
        self.stored = StoredTensors(layer)

    def answer(self, func, args, kwargs):
        result = func(*args, **kwargs)
        call = contraction_of(func, args, self.stored)
        if call is not None:
            self.caught = call, result
        return result


def caught(layer, x):
    with torch.no_grad(), Catcher(layer) as catcher:
        layer(x)
    call, result = catcher.caught
    return Seen(call=call, results=result, signed=bool(call.inputs.min() < 0))


def take(name, monkeypatch):
    if name == "torch":
        monkeypatch.setattr(compiled, "available", lambda: False)
    else:
        monkeypatch.setattr(kernels, "COMPILE_FROM", 0)
        monkeypatch.setattr(compiled, "available", lambda: True)
    if name == "loops":
        quiet = np.errstate(over="ignore")
        monkeypatch.setattr(compiled, "_compiled", quiet)
    return name


def scores(seen, units, *, memory=1 << 28, reduction="inner", best=None):
    known = torch.zeros(len(units), dtype=torch.float64) if best is None else best
    reader = Reader(units=units, best=known)
    (found,) = raised(seen, [reader], Prepared(memory), reduction=reduction)
    return found


def each(count):
    return torch.arange(count)[:, None]


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-12)
