"""What goes of each tensor, and what is left of its shape."""

from __future__ import annotations

import torch
from torch import nn

import prunella
from prunella.core.positions import removed_positions, shape_without, shapes_left

MODEL = nn.Sequential(
    nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 1, groups=2),
    nn.Conv2d(8, 6, 1), nn.Flatten(), nn.Linear(6 * 4, 2),
)  # fmt: skip


def test_lengths_are_those_that_the_positions_leave():
    graph = prunella.trace(MODEL, torch.zeros(1, 3, 4, 4))
    kept = {group.name: torch.arange(1, group.size) for group in graph.prunable}
    shapes = {name: tuple(tensor.shape) for name, tensor in MODEL.state_dict().items()}
    removed = removed_positions(graph, kept)
    expected = {name: shape_without(shapes[name], axes) for name, axes in removed.items()}
    assert shapes_left(graph, kept, shapes) == expected
    assert expected["6.weight"] == (2, 20)
    assert expected["3.weight"] == (6, 3, 1, 1)


def test_equal_positions_are_one_tensor():
    graph = prunella.trace(MODEL, torch.zeros(1, 3, 4, 4))
    kept = {group.name: torch.arange(1, group.size) for group in graph.prunable}
    removed = removed_positions(graph, kept)
    assert removed["1.weight"][0] is removed["1.running_var"][0]
    assert removed["0.weight"][0].tolist() == [0, 4]
