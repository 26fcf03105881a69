"""Movement of data: splits, views, shuffles, padding, and what elementwise operations tie."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import prunella
from small_models import Net, halved, names, of, units

IMAGE = torch.randn(1, 3, 8, 8)


def between(function, made=6, read=6, **more):
    """A function between two 1x1 convolutions."""
    return Net(
        lambda m, x: m.last(function(m, m.first(x))),
        first=nn.Conv2d(3, made, 1), last=nn.Conv2d(read, 2, 1), **more,
    )  # fmt: skip


def test_concatenation_keeps_the_order_of_its_parts():
    model = Net(
        lambda m, x: m.last(torch.cat([m.b(x), m.a(x), m.b(x)], 1)),
        a=nn.Conv2d(3, 4, 1), b=nn.Conv2d(3, 2, 1), last=nn.Conv2d(8, 2, 1),
    )  # fmt: skip
    graph, small = halved(model, IMAGE)
    assert units(graph, "a", "last.weight", 1) == [[2], [3], [4], [5]]
    assert units(graph, "b", "last.weight", 1) == [[0, 6], [1, 7]]
    assert small.last.in_channels == 1 + 2 + 1


DIVISIONS = {
    "chunk": lambda x: x.chunk(2, 1),
    "split": lambda x: x.split(x.shape[1] // 2, 1),
    "slices": lambda x: (x[:, : x.shape[1] // 2], x[:, x.shape[1] // 2 :]),
}


@pytest.mark.parametrize("how", DIVISIONS)
def test_parts_that_are_used_differently_are_groups_that_stay_equal(how):
    def forward(m, x):
        left, right = DIVISIONS[how](m.first(x))
        return m.left(F.relu(left)) + m.right(right)

    model = Net(
        forward, first=nn.Conv2d(3, 8, 1), left=nn.Conv2d(4, 2, 1), right=nn.Conv2d(4, 2, 1)
    )
    graph, small = halved(model, IMAGE)
    assert names(graph) == ["first[0:]", "first[4:]"]
    assert {group.balance for group in graph.prunable} == {"first[0:]"}
    assert units(graph, "first[4:]", "first.weight", 0) == [[4], [5], [6], [7]]
    assert (small.left.in_channels, small.right.in_channels) == (2, 2)


def test_parts_that_meet_again_go_in_pairs():
    model = between(lambda m, x: torch.mul(*x.chunk(2, 1)), made=8, read=4)
    graph, _ = halved(model, IMAGE)
    assert units(graph, "first", "first.weight", 0) == [[0, 4], [1, 5], [2, 6], [3, 7]]


def test_gated_linear_unit_pairs_a_channel_with_its_gate():
    graph, small = halved(between(lambda m, x: F.glu(x, 1), made=8, read=4), IMAGE)
    assert units(graph, "first", "first.weight", 0) == [[0, 4], [1, 5], [2, 6], [3, 7]]
    assert small.last.in_channels == 2


def test_unequal_parts_of_fixed_size_freeze():
    def forward(m, x):
        left, right = m.first(x).split([2, 4], 1)
        return m.left(left) + m.right(right)

    model = Net(
        forward, first=nn.Conv2d(3, 6, 1), left=nn.Conv2d(2, 2, 1), right=nn.Conv2d(4, 2, 1)
    )
    graph = prunella.trace(model, IMAGE)
    reason = of(graph, "first.weight", 0).reason
    assert "parts of fixed, unequal size" in reason
    assert "test_rules_movement.py:" in reason


def test_flattened_maps_and_maps_made_of_features():
    model = Net(
        lambda m, x: m.last(m.up(m.middle(m.first(x).flatten(1)).view(len(x), -1, 2, 2))),
        first=nn.Conv2d(3, 4, 7), middle=nn.Linear(16, 12),
        up=nn.ConvTranspose2d(3, 4, 2), last=nn.Conv2d(4, 2, 1),
    )  # fmt: skip
    graph, small = halved(model, IMAGE)
    assert units(graph, "first", "middle.weight", 1)[1] == [4, 5, 6, 7]
    assert units(graph, "middle", "middle.weight", 0) == [
        [0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11],
    ]  # fmt: skip
    assert (small.middle.out_features, small.up.in_channels) == (8, 2)


def test_channels_last_flatten_interleaves():
    model = Net(
        lambda m, x: m.last(m.first(x).movedim(1, -1).flatten(1)),
        first=nn.Conv2d(3, 4, 7), last=nn.Linear(16, 2),
    )  # fmt: skip
    graph, _ = halved(model, IMAGE)
    assert units(graph, "first", "last.weight", 1)[1] == [1, 5, 9, 13]


def test_pixel_shuffle_takes_whole_blocks():
    graph, small = halved(between(lambda m, x: F.pixel_shuffle(x, 2), made=8, read=2), IMAGE)
    assert units(graph, "first", "first.weight", 0) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert small.last.in_channels == 1


def test_pixel_unshuffle_makes_four_positions_of_a_channel():
    graph, _ = halved(between(lambda m, x: F.pixel_unshuffle(x, 2), made=2, read=8), IMAGE)
    assert units(graph, "first", "last.weight", 1) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_reversed_channels_are_read_in_reverse():
    graph, _ = halved(between(lambda m, x: x.flip(1)), IMAGE)
    assert units(graph, "first", "last.weight", 1) == [[5], [4], [3], [2], [1], [0]]


def test_spatial_padding_is_no_obstacle():
    graph, _ = halved(between(lambda m, x: F.pad(x, (1, 2, 0, 1))), IMAGE)
    assert graph.group("first").size == 6


@pytest.mark.parametrize("function", [
    torch.add, torch.sub, torch.mul, lambda a, b: a / (b.abs() + 1), torch.maximum, torch.minimum,
    torch.atan2,
    lambda a, b: torch.where(a > 0, a, b), lambda a, b: torch.lerp(a, b, 0.3),
    lambda a, b: torch.stack([a, b]).sum(0), lambda a, b: torch.stack([a, b], -1).amax(-1),
    lambda a, b: torch.addcmul(a, a, b), lambda a, b: a * (b > 0),
])  # fmt: skip
def test_two_operands_are_tied_channel_by_channel(function):
    model = Net(
        lambda m, x: m.last(function(m.a(x), m.b(x))),
        a=nn.Conv2d(3, 6, 1), b=nn.Conv2d(3, 6, 1), last=nn.Conv2d(6, 2, 1),
    )  # fmt: skip
    graph, small = halved(model, IMAGE)
    assert names(graph) == ["a"]
    assert units(graph, "a", "b.weight", 0) == [[n] for n in range(6)]
    assert small.b.out_channels == 3


def test_stored_vector_goes_with_the_channels_it_meets():
    model = between(lambda m, x: x * m.gain + 1, gain=nn.Parameter(torch.rand(6, 1, 1)))
    graph, small = halved(model, IMAGE)
    assert units(graph, "first", "gain", 0) == [[n] for n in range(6)]
    assert small.gain.shape == (3, 1, 1)


def test_prelu_of_one_slope_and_of_one_for_each_channel():
    for slopes, left in ((1, 1), (6, 3)):
        _, small = halved(between(lambda m, x: m.act(x), act=nn.PReLU(slopes)), IMAGE)
        assert len(small.act.weight) == small.act.num_parameters == left


@pytest.mark.parametrize("function", [torch.sigmoid, torch.cos, torch.exp, lambda x: 1 - x])
def test_functions_that_do_not_keep_zero_are_masked_where_they_are_read(function):
    graph, _ = halved(between(lambda m, x: function(x)), IMAGE)
    assert graph.group("first").size == 6


def test_sum_over_copies_ties_the_copies():
    model = between(lambda m, x: x.unflatten(1, (2, -1)).sum(1), made=6, read=3)
    graph, _ = halved(model, IMAGE)
    assert units(graph, "first", "first.weight", 0) == [[0, 3], [1, 4], [2, 5]]


@pytest.mark.parametrize("function", [
    lambda m, x: x.unflatten(1, (2, -1)).sum(1),
    lambda m, x: x.view(x.shape[0], 2, -1, 8, 8).transpose(1, 2).flatten(1, 2)[:, :4],
])  # fmt: skip
def test_positions_of_fixed_number_beside_channels_in_a_view_end_and_freeze(function):
    """Found by random networks: such a view made the search for full blocks go on for ever."""
    model = Net(
        lambda m, x: m.last(function(m, torch.cat([m.first(x), x, x[:, :1]], 1))),
        first=nn.Conv2d(3, 4, 1), last=nn.Conv2d(4, 2, 1),
    )  # fmt: skip
    graph = prunella.trace(model, IMAGE)
    assert not of(graph, "first.weight", 0).prunable


def test_number_in_the_code_that_fits_half_of_the_channels_by_chance():
    """Found by random networks: `view(n, 4, ...)` runs with two of four groups, not with three."""
    model = Net(
        lambda m, x: m.last(F.channel_shuffle(m.middle(m.first(x)), 4)),
        first=nn.Conv2d(3, 8, 1), middle=nn.Conv2d(8, 8, 1, groups=4), last=nn.Conv2d(8, 2, 1),
    )  # fmt: skip
    graph = prunella.trace(model, IMAGE)
    assert not of(graph, "first.weight", 0).prunable


def test_unknown_operation_names_itself_and_the_line():
    graph = prunella.trace(between(lambda m, x: torch.cumprod(x, 1)), IMAGE)
    reason = of(graph, "first.weight", 0).reason
    assert reason.startswith("no rule is known for the operation (cumprod) at the model (")
    assert "test_rules_movement.py:" in reason
