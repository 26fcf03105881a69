"""Walks give what torch's own give."""

from __future__ import annotations

import pytest
from torch import nn

from prunella.ops import modules_of, paths_of, tensors_of


class Shared(nn.Module):
    """One block under two names, an entry that is None, a tied weight and a buffer."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
        self.none = None
        self.register_module("missing", None)
        self.again = self.first
        self.last = nn.Linear(2, 2, bias=False)
        self.last.weight = self.first[0].weight


@pytest.mark.parametrize("each_once", [True, False])
def test_modules_and_paths(each_once):
    model = Shared()
    assert paths_of(model, each_once=each_once) == list(
        model.named_modules(remove_duplicate=each_once)
    )
    assert modules_of(model) == list(model.modules())


@pytest.mark.parametrize("each_once", [True, False])
def test_tensors_under_every_name(each_once):
    model = Shared()
    paths = paths_of(model, each_once=each_once)
    names = [name for name, _ in tensors_of(paths, "_parameters")]
    assert "last.weight" in names
    if not each_once:
        assert names == [name for name, _ in model.named_parameters(remove_duplicate=False)]
        buffers = list(tensors_of(paths, "_buffers"))
        assert buffers == list(model.named_buffers(remove_duplicate=False))
