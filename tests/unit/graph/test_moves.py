"""Sizes in the code that fit a cut by chance: the shapes are right, the channels are not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import prunella


class SecondOfThree(nn.Module):
    """Channels 2 and 3 of six; of the three that a cut leaves, channel 2 is another one."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 6, 1), nn.Conv2d(2, 2, 1)

    def forward(self, x):
        return self.b(torch.relu(self.a(x))[:, 2:4])


class Shuffled(nn.Module):
    """Four groups of two, shuffled, in an order that pairs every other channel."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv1d(2, 8, 1), nn.Conv1d(2, 2, 1)

    def forward(self, x):
        n, _, length = x.shape
        shuffled = torch.relu(self.a(x)).view(n, 4, -1, length).transpose(1, 2)
        parts = shuffled.reshape(n, -1, length).chunk(4, 1)
        return self.b(parts[0] * parts[1] + parts[2] * parts[3])


@pytest.mark.parametrize(
    ("model", "example"),
    [(SecondOfThree(), torch.randn(1, 2, 3, 3)), (Shuffled(), torch.randn(1, 2, 6))],
)
def test_what_fits_by_chance_is_frozen(model, example):
    graph = prunella.trace(model, example)
    assert not graph.prunable
    (reason,) = {g.reason for g in graph.groups if g.name.startswith("a") and "input" not in g.name}
    assert "fits a cut by chance only" in reason
    assert "test_moves.py:" in reason


class Halves(nn.Module):
    """The same slices from the shape of the tensor follow a cut."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 4, 1), nn.Conv2d(2, 2, 1)

    def forward(self, x):
        y = torch.relu(self.a(x))
        half = y.shape[1] // 2
        return self.b(y[:, :half] - y[:, half:])


def test_what_follows_a_cut_is_not_frozen():
    model = Halves()
    graph = prunella.trace(model, torch.randn(1, 2, 3, 3))
    (group,) = graph.prunable
    small = prunella.Plan.from_kept(graph, {group.name: [1]}).apply(model)
    assert small.a.out_channels == 2


class Summed(nn.Module):
    """Two heads by einsum, which moves axes of length one about."""

    def __init__(self):
        super().__init__()
        self.qkv, self.out = nn.Linear(4, 3 * 6), nn.Linear(6, 2)

    def forward(self, x):  # (N, T, 4)
        q, k, v = (part.unflatten(2, (-1, 3)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        weights = torch.einsum("nhtd,nhsd->nhts", q, k).softmax(-1)
        return self.out(torch.einsum("nhts,nhsd->nhtd", weights, v).transpose(1, 2).flatten(2))


def test_axes_of_length_one_may_move():
    model = Summed()
    graph = prunella.trace(model, torch.randn(1, 5, 4))
    (group,) = graph.prunable
    small = prunella.Plan.from_kept(graph, {group.name: [1]}).apply(model)
    assert small.out.in_features == 3


class Grouped(nn.Module):
    """Channels tied by a grouped convolution; its output is viewed in the way of a classifier."""

    def __init__(self, *, by_number):
        super().__init__()
        self.by_number = by_number
        self.a, self.b = nn.Conv2d(2, 8, 1), nn.Conv2d(8, 8, 1, groups=2)
        self.c = nn.Linear(8, 3)

    def forward(self, x):
        y = torch.relu(self.b(torch.relu(self.a(x)))).mean((2, 3), keepdim=True)
        if self.by_number:
            y = y.view(len(y), 2, -1, 1).contiguous()
        return self.c(y.flatten(1))


@pytest.mark.parametrize(("by_number", "cuts"), [(False, 1), (True, 2)])
def test_a_second_cut_is_tried_where_channels_are_regrouped(by_number, cuts, monkeypatch):
    tried = []
    watched = prunella.tracing.cut
    monkeypatch.setattr(
        prunella.tracing, "cut", lambda *args, **more: tried.append(args) or watched(*args, **more)
    )
    graph = prunella.trace(Grouped(by_number=by_number), torch.randn(1, 2, 3, 3))
    assert len(tried) == cuts
    assert {member.indices.shape[1] for member in graph.group("a").members} == {1, 2}
