"""The predicted cost is the cost of the network that is really cut."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import prunella
from prunella.allocate import CostModel
from prunella.surgery import cut

NETWORKS = {
    "lenet5": (1, 1, 28, 28),
    "resnet20": (1, 3, 32, 32),
    "densenet22": (1, 3, 32, 32),
    "vgg16_bn": (1, 3, 32, 32),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_prediction_is_exact_for_random_counts(name):
    model, example = getattr(prunella.networks, name)(), torch.zeros(NETWORKS[name])
    graph = prunella.trace(model, example)
    predicted = CostModel(graph)
    assert predicted.full == predicted.cost({}) == prunella.cost(model, example)
    generator = torch.Generator().manual_seed(1)
    for trial in range(3):
        kept = {}
        for group in graph.prunable:
            low = 1 if trial else group.size  # once everything, for the trivial case
            count = int(torch.randint(low, group.size + 1, (1,), generator=generator))
            kept[group.name] = torch.randperm(group.size, generator=generator)[:count].sort().values
        small = cut(model, graph, kept)
        counts = {group: len(units) for group, units in kept.items()}
        assert prunella.cost(small, example) == predicted.cost(counts)


def test_groups_that_are_not_named_stay_whole():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    predicted = CostModel(prunella.trace(model, torch.zeros(1, 3)))
    assert predicted.full.params == (3 * 4 + 4) + (4 * 5 + 5) + (5 * 2 + 2)
    found = predicted.cost({"0": 1})
    assert found.params == (3 + 1) + (5 + 5) + (5 * 2 + 2)
    assert found.macs == 3 + 5 + 5 * 2
    assert found.bytes == 4 * found.params


def test_batch_of_examples_multiplies_the_work_only():
    model = prunella.networks.lenet5()
    one = CostModel(prunella.trace(model, torch.zeros(1, 1, 28, 28)))
    four = CostModel(prunella.trace(model, torch.zeros(4, 1, 28, 28)))
    kept = {"conv1": 7, "conv2": 11, "fc1": 13}
    assert four.cost(kept).macs == 4 * one.cost(kept).macs
    assert four.cost(kept).params == one.cost(kept).params


def test_heads_take_their_share_of_the_products_of_attention():
    model = nn.TransformerEncoderLayer(16, 4, 24, batch_first=True).eval()
    example = torch.randn(1, 5, 16)
    graph = prunella.trace(model, example)
    (heads,) = (group for group in graph.prunable if group.heads)
    # Queries with keys, and weights with values: heads * length * length * width each.
    assert heads.product_macs == graph.other_macs == 2 * 4 * 5 * 5 * 4
    small = cut(model, graph, {group.name: torch.arange(3) for group in graph.prunable})
    assert prunella.cost(small, example) == CostModel(graph).cost(
        {group.name: 3 for group in graph.prunable}
    )


def test_the_work_of_single_tensors_adds_up_to_that_of_the_layers():
    model = nn.Sequential(nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3, padding=1))
    graph = prunella.trace(model, torch.randn(1, 2, 7, 7))
    costs = CostModel(graph)
    found = costs.macs_by_tensor({graph.prunable[0].name: 2})
    assert found == {"0.weight": 2 * 2 * 9 * 25, "2.weight": 4 * 2 * 9 * 25}
    assert sum(found.values()) == costs.cost({graph.prunable[0].name: 2}).macs
