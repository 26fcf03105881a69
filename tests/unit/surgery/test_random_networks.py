"""Random small networks and random cuts: small equals masked, and the cost is as predicted."""

from __future__ import annotations

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import prunella
from prunella.allocate import CostModel
from prunella.surgery import masked

BLOCKS = ("plain", "norm", "residual", "dense", "depthwise", "strided")


class Random(nn.Module):
    """A chain of blocks drawn by the test, then a linear head on the flattened map."""

    def __init__(self, kinds, widths, *, flat):
        super().__init__()
        self.kinds, self.flat = kinds, flat
        self.stem = nn.Conv2d(2, 4, 3, padding=1)
        self.blocks = nn.ModuleList()
        width, size = 4, 6
        for kind, wide in zip(kinds, widths, strict=True):
            self.blocks.append(self.block(kind, width, wide))
            width = {"dense": width + wide, "residual": width, "depthwise": width}.get(kind, wide)
            size = (size + 1) // 2 if kind == "strided" else size
        self.head = nn.Linear(width * size * size if flat else width, 7)
        self.last = nn.Linear(7, 3)
        self.double()
        with torch.no_grad():
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.weight.uniform_(0.5, 1.5)
                    module.bias.normal_()
                    module.running_mean.normal_()
                    module.running_var.uniform_(0.5, 1.5)

    @staticmethod
    def block(kind, width, wide):
        if kind == "depthwise":
            return nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1, groups=width), nn.BatchNorm2d(width)
            )
        if kind == "residual":
            return nn.Sequential(
                nn.Conv2d(width, wide, 1, bias=False),
                nn.BatchNorm2d(wide),
                nn.PReLU(wide),
                nn.Conv2d(wide, width, 3, padding=1),
            )
        if kind == "norm":
            return nn.Sequential(nn.Conv2d(width, wide, 3, padding=1), nn.BatchNorm2d(wide))
        return nn.Conv2d(width, wide, 3, padding=1, stride=2 if kind == "strided" else 1)

    def forward(self, x):
        x = torch.tanh(self.stem(x))
        for kind, block in zip(self.kinds, self.blocks, strict=True):
            y = block(x)
            if kind == "residual":
                y = x + y
            if kind == "dense":
                y = torch.cat([x, y], dim=1)
            x = torch.relu(y) + 0.1
        x = x.flatten(1) if self.flat else x.mean((2, 3))
        return self.last(torch.sigmoid(self.head(x)))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_small_equals_masked_and_costs_what_was_said(data):
    kinds = data.draw(st.lists(st.sampled_from(BLOCKS), min_size=0, max_size=4), label="kinds")
    widths = [data.draw(st.integers(1, 6), label="width") for _ in kinds]
    torch.manual_seed(data.draw(st.integers(0, 1000), label="seed"))
    model = Random(kinds, widths, flat=data.draw(st.booleans(), label="flat")).eval()
    example = torch.randn(1, 2, 6, 6).double()
    graph = prunella.trace(model, example)
    kept = {
        group.name: sorted(
            data.draw(
                st.sets(st.integers(0, group.size - 1), min_size=1, max_size=group.size),
                label=group.name,
            )
        )
        for group in graph.prunable
    }
    assert "head" in kept  # there is always something to cut
    plan = prunella.Plan.from_kept(graph, kept)
    small = plan.apply(model)

    x = torch.randn(3, 2, 6, 6).double()
    with torch.no_grad():
        expected = masked(model, graph, plan.kept)(x)
        torch.testing.assert_close(small(x), expected, rtol=1e-9, atol=1e-9)
    found = prunella.cost(small, example)
    counts = {name: len(units) for name, units in kept.items()}
    assert found == plan.achieved == CostModel(graph).cost(counts)
    assert plan.original == prunella.cost(model, example)
    # A network that was cut can be traced and cut again.
    again = prunella.trace(small, example)
    assert again.other_macs == graph.other_macs == 0
