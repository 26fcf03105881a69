"""Convolutions, matrix products and tables: groups and units known by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import prunella
from small_models import Net, halved, names, of, units

IMAGE = torch.randn(1, 3, 8, 8)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [(nn.Conv1d, (1, 3, 8)), (nn.Conv2d, (1, 3, 8, 8)), (nn.Conv3d, (1, 3, 4, 4, 4))],
)
def test_convolutions_of_any_dimension(layer, shape):
    graph, small = halved(
        nn.Sequential(layer(3, 6, 1), nn.ReLU(), layer(6, 2, 3)), torch.randn(shape)
    )
    assert names(graph) == ["0"]
    assert units(graph, "0", "2.weight", 1) == [[n] for n in range(6)]
    assert (small[0].out_channels, small[2].in_channels) == (3, 3)


@pytest.mark.parametrize(
    ("layer", "shape"), [(nn.ConvTranspose1d, (1, 3, 8)), (nn.ConvTranspose2d, (1, 3, 8, 8))]
)
def test_transposed_convolutions_read_along_their_first_axis(layer, shape):
    model = nn.Sequential(layer(3, 6, 2), nn.ReLU(), layer(6, 4, 2), nn.ReLU(), layer(4, 2, 1))
    graph, small = halved(model, torch.randn(shape))
    assert names(graph) == ["0", "2"]
    assert {(m.tensor, m.axis, m.role) for m in graph.group("0").members} == {
        ("0.weight", 1, "producer"),
        ("0.bias", 0, "producer"),
        ("2.weight", 0, "consumer"),
    }
    assert (small[2].in_channels, small[2].out_channels) == (3, 2)


def test_one_channel_convolution_is_an_ordinary_one():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 1, 1))
    graph, small = halved(model, IMAGE)
    assert names(graph) == ["0"]
    assert graph.group("2").reason == "is an output of the model"
    assert (small[2].in_channels, small[2].groups) == (4, 1)


def test_one_channel_in_the_middle_stays():
    model = nn.Sequential(nn.Conv2d(3, 6, 1), nn.ReLU(), nn.Conv2d(6, 1, 1), nn.Conv2d(1, 2, 1))
    graph, _ = halved(model, IMAGE)
    assert names(graph) == ["0"]
    assert not of(graph, "2.weight", 0).prunable


@pytest.mark.parametrize("times", [1, 2])
def test_depthwise_units_are_channels_with_all_they_make(times):
    model = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4 * times, 3, groups=4), nn.Conv2d(4 * times, 2, 1)
    )
    graph, small = halved(model, IMAGE)
    assert names(graph) == ["0"]
    each = [list(range(n * times, (n + 1) * times)) for n in range(4)]
    assert units(graph, "0", "1.weight", 0) == each
    assert units(graph, "0", "2.weight", 1) == each
    assert (small[1].groups, small[1].in_channels, small[1].out_channels) == (2, 2, 2 * times)


def test_grouped_convolution_of_many_groups_loses_whole_groups():
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 12, 3, groups=4), nn.Conv2d(12, 2, 1))
    graph, small = halved(model, IMAGE)
    assert names(graph) == ["0"]
    assert units(graph, "0", "0.weight", 0) == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert units(graph, "0", "1.weight", 0) == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]
    assert (small[1].groups, small[1].in_channels, small[1].out_channels) == (2, 4, 6)


def test_grouped_convolution_of_few_groups_loses_the_same_places_of_each():
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 6, 3, groups=2), nn.Conv2d(6, 2, 1))
    graph, small = halved(model, IMAGE)
    assert names(graph) == ["0", "1"]
    assert units(graph, "0", "0.weight", 0) == [[0, 4], [1, 5], [2, 6], [3, 7]]
    assert units(graph, "0", "1.weight", 1) == [[0], [1], [2], [3]]
    assert units(graph, "1", "1.weight", 0) == [[0, 3], [1, 4], [2, 5]]
    assert (small[1].groups, small[1].in_channels, small[1].out_channels) == (2, 4, 4)


def test_matrix_product_without_a_module():
    model = Net(
        lambda m, x: F.relu(x @ m.first) @ m.second,
        first=nn.Parameter(torch.randn(3, 6)),
        second=nn.Parameter(torch.randn(6, 2)),
    )
    graph, small = halved(model, torch.randn(2, 3))
    assert names(graph) == ["first"]
    assert (small.first.shape, small.second.shape) == ((3, 3), (3, 2))


def test_parts_of_one_weight_are_layers_of_their_own():
    """A fused projection: `[:4]` is a number in the code, `[4:]` follows a cut of what is left."""

    def forward(m, x):
        a = F.linear(x, m.fused.weight[:4], m.fused.bias[:4])
        b = F.linear(x, m.fused.weight[4:], m.fused.bias[4:])
        return m.left(F.relu(a)) + m.right(F.relu(b))

    model = Net(forward, fused=nn.Linear(3, 10), left=nn.Linear(4, 2), right=nn.Linear(6, 2))
    graph, small = halved(model, torch.randn(1, 3))
    assert names(graph) == ["fused[4:]"]
    assert "cannot follow a cut" in of(graph, "fused.weight", 0).reason
    assert small.fused.out_features == 4 + 3


def test_embedding_makes_channels_and_its_rows_stay():
    model = Net(lambda m, x: m.last(m.table(x)), table=nn.Embedding(7, 6), last=nn.Linear(6, 2))
    graph, small = halved(model, torch.tensor([[1, 2, 3]]))
    assert names(graph) == ["table"]
    assert of(graph, "table.weight", 0).reason == "rows are chosen by number"
    assert (small.table.num_embeddings, small.table.embedding_dim) == (7, 3)


def test_shared_layer_ties_what_it_reads_to_what_it_makes():
    model = Net(
        lambda m, x: m.last(F.relu(m.twice(F.relu(m.twice(m.first(x)))))),
        first=nn.Linear(3, 6), twice=nn.Linear(6, 6), last=nn.Linear(6, 2),
    )  # fmt: skip
    graph, small = halved(model, torch.randn(1, 3))
    assert names(graph) == ["first"]
    assert small.twice.weight.shape == (3, 3)


def test_bias_goes_with_its_rows():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    graph = prunella.trace(model, torch.randn(1, 3))
    assert units(graph, "0", "0.bias", 0) == [[0], [1], [2], [3]]


def test_channels_beside_the_models_input_stay_free_and_those_of_the_input_frozen():
    model = Net(
        lambda m, x: m.last(torch.cat([x, m.first(x)], 1)),
        first=nn.Conv2d(3, 4, 1), last=nn.Conv2d(7, 2, 1),
    )  # fmt: skip
    graph, _ = halved(model, IMAGE)
    assert units(graph, "first", "last.weight", 1) == [[3], [4], [5], [6]]
    assert "fixed number" in of(graph, "last.weight", 1, 0).reason
