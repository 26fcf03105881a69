"""Rules found by tracing the networks of torchvision and timm: blocks of axes."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

import prunella


class RelativePositions(nn.Module):
    """The padding trick that turns relative into absolute positions: channels meet padding."""

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(4, 12)
        self.b = nn.Linear(12, 5)
        self.last = nn.Linear(5, 2)

    def forward(self, x):  # (1, 3, 4)
        scores = self.b(F.relu(self.a(x)))  # (1, 3, 5)
        flat = F.pad(scores, [0, 1]).flatten(1)  # (1, 18)
        skewed = F.pad(flat, [0, 2]).reshape(1, 4, 5)
        return self.last(skewed)


def test_block_with_padding_among_its_channels_is_frozen():
    model, example = RelativePositions(), torch.randn(1, 3, 4)
    graph = prunella.trace(model, example)
    assert [group.name for group in graph.prunable] == ["a"]
    assert all(group.reason for group in graph.groups if group.name.startswith("b"))
    small = prunella.Plan.from_kept(graph, {"a": list(range(6))}).apply(model)
    assert small.a.out_features == 6


class CachedBias(nn.Module):
    """Heads with a bias that is kept from the first run on, as some networks do to save time."""

    def __init__(self):
        super().__init__()
        self.num_heads = 4
        self.qkv = nn.Linear(8, 3 * 16)
        self.out = nn.Linear(16, 8)
        self.bias = nn.Parameter(torch.randn(4, 5))
        self.register_buffer("places", torch.arange(25).view(5, 5) % 5, persistent=False)
        self.cache = {}

    def forward(self, x):  # (1, 5, 8)
        q, k, v = self.qkv(x).view(1, 5, 3, self.num_heads, 4).permute(2, 0, 3, 1, 4)
        if "bias" not in self.cache:
            self.cache["bias"] = self.bias[:, self.places]
        weights = (q @ k.mT + self.cache["bias"]).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).flatten(2))


def test_what_a_run_leaves_in_a_module_does_not_stop_the_trial():
    model, example = CachedBias(), torch.randn(1, 5, 8)
    graph = prunella.trace(model, example)
    (group,) = graph.prunable
    assert group.size == 4
    assert {(m.tensor, m.axis) for m in group.members} >= {("bias", 0), ("out.weight", 1)}
    small = prunella.Plan.from_kept(graph, {group.name: [0, 2]}).apply(model)
    assert small.bias.shape == (2, 5)
    assert model.cache == {}


class WidthOfAllHeads(nn.Module):
    """Attention that keeps the width of all heads under a name of its own."""

    def __init__(self):
        super().__init__()
        self.num_heads, self.out_dim = 4, 12
        self.qkv = nn.Linear(8, 3 * 12)
        self.out = nn.Linear(12, 8)

    def forward(self, x):  # (1, 5, 8)
        q, k, v = self.qkv(x).view(1, 5, 3, self.num_heads, 3).permute(2, 0, 3, 1, 4)
        y = (q @ k.mT).softmax(-1) @ v
        return self.out(y.transpose(1, 2).reshape(1, 5, self.out_dim))


def test_width_of_all_heads_follows():
    model = WidthOfAllHeads()
    (group,) = prunella.trace(model, torch.randn(1, 5, 8)).prunable
    graph = prunella.trace(model, torch.randn(1, 5, 8))
    small = prunella.Plan.from_kept(graph, {group.name: [0, 3]}).apply(model)
    assert (small.num_heads, small.out_dim, model.out_dim) == (2, 6, 12)
