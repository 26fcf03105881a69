"""Scenario 4: depthwise and one-channel.

"I have MobileNetV2, MobileNetV3 and a net ending in `Conv2d(64, 1)`. I prune 30 %. I get a working
forward and backward for each, groups consistent with channels, the one-channel layer treated as an
ordinary convolution."
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

import prunella

torchvision = pytest.importorskip("torchvision")


def ends_in_one_channel() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 1, 1),
    )  # fmt: skip


NETWORKS = {
    "MobileNetV2": lambda: torchvision.models.mobilenet_v2(weights=None, num_classes=10),
    "MobileNetV3": lambda: torchvision.models.mobilenet_v3_small(weights=None, num_classes=10),
    "one channel": ends_in_one_channel,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_30_percent_less_and_it_still_trains(name):
    torch.manual_seed(0)
    model = NETWORKS[name]()
    example = torch.zeros(1, 3, 64, 64)
    graph = prunella.trace(model, example)
    plan = prunella.plan(graph, None, prunella.Params(0.7), method="random")
    small = plan.apply(model)
    assert prunella.cost(small, example) == plan.achieved
    assert 0.6 * plan.original.params < plan.achieved.params <= 0.7 * plan.original.params
    for module in small.modules():
        if isinstance(module, nn.Conv2d):
            assert tuple(module.weight.shape[:2]) == (
                module.out_channels, module.in_channels // module.groups,
            )  # fmt: skip
            assert module.in_channels % module.groups == module.out_channels % module.groups == 0
            assert module.groups in (1, module.in_channels)
    small.train()
    small(torch.randn(4, 3, 64, 64)).square().mean().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in small.parameters())


def test_depthwise_layers_really_lost_channels():
    model = NETWORKS["MobileNetV2"]()
    graph = prunella.trace(model, torch.zeros(1, 3, 64, 64))
    plan = prunella.plan(graph, None, prunella.Params(0.7), method="random")
    small = plan.apply(model)
    pairs = zip(model.modules(), small.modules(), strict=True)
    counts = [(a.groups, b.groups) for a, b in pairs if isinstance(a, nn.Conv2d) and a.groups > 1]
    assert len(counts) == 17
    assert all(after < before for before, after in counts)


def test_the_one_channel_is_an_output_and_what_it_reads_is_cut():
    model = ends_in_one_channel()
    graph = prunella.trace(model, torch.zeros(1, 3, 8, 8))
    assert [group.name for group in graph.prunable] == ["0", "3"]
    assert graph.group("5").reason == "is an output of the model"
    small = prunella.Plan.from_kept(graph, {"3": list(range(0, 64, 2))}).apply(model)
    assert (small[5].in_channels, small[5].out_channels, small[5].groups) == (32, 1, 1)
