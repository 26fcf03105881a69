"""Scenario 2: smaller, and equal to its mask.

"I have VGG-16-BN with non-zero BN betas. I ask for 50 % of the filters out. I get a model whose
outputs match the masked one (largest difference printed, < 1e-5 relative in float64), whose
parameters, MACs and bytes all fell, and a failing exit if they did not."
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

import prunella
from prunella.core.errors import SurgeryError
from prunella.surgery import apply as surgery
from prunella.surgery import masked

IMAGE = torch.zeros(1, 3, 32, 32, dtype=torch.float64)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = prunella.networks.vgg16_bn().double().eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_()
                module.running_mean.normal_(std=0.1)
                module.running_var.uniform_(0.5, 1.5)
    return model


@pytest.fixture(scope="module")
def plan(model):
    """Half of every group, chosen at random."""
    graph = prunella.trace(model, IMAGE)
    generator = torch.Generator().manual_seed(3)
    return prunella.Plan.from_kept(graph, {
        group.name: torch.randperm(group.size, generator=generator)[: group.size // 2].sort().values
        for group in graph.prunable
    })  # fmt: skip


def test_outputs_are_those_of_the_masked_network(model, plan, capsys):
    convolutions = [name for name, m in model.named_modules() if isinstance(m, nn.Conv2d)]
    assert [g.name for g in plan.graph.prunable][: len(convolutions)] == convolutions
    small, difference = plan.apply_verified(model)
    x = torch.randn(4, 3, 32, 32, dtype=torch.float64)
    with torch.no_grad():
        expected = masked(model, plan.graph, plan.kept)(x)
        found = float((small(x) - expected).abs().max() / expected.abs().max())
        assert float((model(x) - expected).abs().max() / expected.abs().max()) > 1e-3
    print(f"largest relative difference {found:.1e}, on the probes of the cut {difference:.1e}")
    assert max(found, difference) < 1e-5
    assert "largest relative difference" in capsys.readouterr().out


def test_all_sizes_fell_as_predicted(model, plan):
    before, after = prunella.cost(model, IMAGE), prunella.cost(plan.apply(model), IMAGE)
    assert (before, after) == (plan.original, plan.achieved)
    for size in ("params", "macs", "bytes"):
        assert getattr(after, size) < 0.5 * getattr(before, size)


def test_a_cut_that_is_not_its_mask_fails_with_an_exit_code(model, plan, monkeypatch):
    right = surgery._complement

    def wrong(positions, size, known):
        stays = right(positions, size, known)
        return (stays + 1) % size if size == 512 else stays

    calls = iter(range(10**6))  # consistent nonsense everywhere would be another fair cut
    monkeypatch.setattr(
        surgery, "_complement", lambda *given: (wrong if next(calls) % 2 else right)(*given)
    )
    with pytest.raises(SurgeryError, match="differs from the masked original by") as caught:
        plan.apply(model)
    assert caught.value.exit_code == 1
