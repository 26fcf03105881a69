"""Normalisation: what goes with its channel, and what channels share."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import prunella
from small_models import Net, halved, of, units

IMAGE = torch.randn(1, 3, 8, 8)


def with_norm(norm, channels=8):
    return nn.Sequential(nn.Conv2d(3, channels, 3), norm, nn.ReLU(), nn.Conv2d(channels, 2, 1))


@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm_carries_all_it_stores(affine):
    graph, small = halved(with_norm(nn.BatchNorm2d(8, affine=affine)), IMAGE)
    stored = {"1.running_mean", "1.running_var"} | ({"1.weight", "1.bias"} if affine else set())
    carried = {m.tensor for m in graph.group("0").members if m.role == "carrier"}
    assert carried == stored
    assert small[1].num_features == 4


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.filterwarnings("ignore:input's size at dim=1 does not match num_features")
def test_instance_norm_knows_each_channel_by_itself(affine):
    graph, small = halved(with_norm(nn.InstanceNorm2d(8, affine=affine)), IMAGE)
    assert graph.group("0").size == 8
    assert small[3].in_channels == 4


def test_group_norm_loses_whole_groups():
    graph, small = halved(with_norm(nn.GroupNorm(4, 8)), IMAGE)
    assert units(graph, "0", "1.weight", 0) == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert (small[1].num_groups, small[1].num_channels) == (2, 4)


def test_group_norm_of_one_group_ties_all_its_channels():
    graph = prunella.trace(with_norm(nn.GroupNorm(1, 8)), IMAGE)
    group = of(graph, "0.weight", 0)
    assert not group.prunable
    assert "a normalisation across channels (group norm) at 1 (" in group.reason


def tokens(norm):
    return Net(
        lambda m, x: m.last(m.norm(m.first(x))),
        first=nn.Linear(3, 8), norm=norm, last=nn.Linear(8, 2),
    )  # fmt: skip


def test_layer_norm_ties_all_its_channels():
    graph = prunella.trace(tokens(nn.LayerNorm(8)), torch.randn(1, 5, 3))
    group = graph.group("first")
    assert (group.size, group.prunable) == (1, False)
    assert "a normalisation across channels (layer norm) at norm (" in group.reason


def test_through_norms_channels_go_but_equality_is_not_claimed():
    graph, small = halved(tokens(nn.LayerNorm(8)), torch.randn(1, 5, 3), through_norms=True)
    group = graph.group("first")
    assert (group.size, group.prunable, group.exact) == (8, True, False)
    assert tuple(small.norm.normalized_shape) == (4,)
    assert small(torch.randn(2, 5, 3)).shape == (2, 5, 2)


def test_through_norms_changes_nothing_where_no_channels_are_mixed():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 2, 1))
    graph = prunella.trace(model, IMAGE, through_norms=True)
    assert graph.group("0").exact


@pytest.mark.parametrize("norm", [nn.GroupNorm(1, 6), nn.LayerNorm([6, 8, 8])])
def test_statistics_shared_with_positions_of_fixed_number_freeze(norm):
    """Found by random networks: the model's input beside the channels counts in the statistics."""
    model = Net(
        lambda m, x: m.last(m.norm(torch.cat([x, m.first(x)], 1))),
        first=nn.Conv2d(3, 3, 1), norm=norm, last=nn.Conv2d(6, 2, 1),
    )  # fmt: skip
    group = of(prunella.trace(model, IMAGE), "first.weight", 0)
    assert not group.prunable
    assert "a normalisation across channels" in group.reason


def test_group_norm_without_weights_stays():
    """Found by random networks: its number of groups could not follow the cut."""
    graph = prunella.trace(with_norm(nn.GroupNorm(4, 8, affine=False)), IMAGE)
    assert "a group norm without weights at 1 (" in of(graph, "0.weight", 0).reason


class Choice(nn.Module):
    """A softmax over two branches, whose shares are read by layers of their own."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 6), nn.Linear(3, 6)
        self.c, self.d = nn.Linear(6, 2), nn.Linear(6, 2)

    def forward(self, x):
        first, second = torch.stack([self.a(x), self.b(x)], 1).softmax(1).unbind(1)
        return self.c(first) + self.d(second)


def test_a_softmax_over_branches_goes_as_a_whole():
    model = Choice()
    graph = prunella.trace(model, torch.randn(1, 3))
    (group,) = graph.prunable
    assert {m.tensor for m in group.members} >= {f"{x}.weight" for x in "abcd"}
    small = prunella.Plan.from_kept(graph, {group.name: [0, 2, 5]}).apply(model)
    assert (small.a.out_features, small.b.out_features) == (3, 3)
