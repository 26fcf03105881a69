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
