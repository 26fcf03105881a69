"""Networks of torchvision and timm as they come: traced, cut to half, checked, run backwards."""

from __future__ import annotations

import pytest
import torch

import prunella
from prunella.surgery import masked
from prunella.surgery.verify import relative_difference

torchvision = pytest.importorskip("torchvision")
timm = pytest.importorskip("timm")

CASES = {
    # name: (size of the example, whether heads of attention are among what goes)
    "squeezenet1_1": (64, False),
    "mobilenet_v3_small": (64, False),
    "shufflenet_v2_x0_5": (64, False),
    "resnet18": (64, False),
    "timm:vit_tiny_patch16_224": (224, True),
    "timm:convnext_atto": (64, False),
    "timm:ghostnet_050": (64, False),
}


def build(name):
    """No parameter all zeros or all ones, which would hide what was cut wrongly."""
    kind, _, rest = name.rpartition(":")
    model = timm.create_model(rest) if kind else torchvision.models.get_model(rest, weights=None)
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.dtype.is_floating_point and bool((tensor == tensor.flatten()[0]).all()):
                tensor.uniform_(0.5, 1.5)
    return model.eval()


@pytest.mark.parametrize("name", CASES)
def test_halved_out_of_the_box(name):
    side, heads = CASES[name]
    model, example = build(name), torch.randn(1, 3, side, side)
    graph = prunella.trace(model, example)
    assert any(group.heads for group in graph.prunable) == heads
    plan = prunella.plan(graph, None, prunella.Params(0.5), method="random")
    small, difference = plan.apply_verified(model)

    assert 0 < difference < 1e-4
    count = sum(parameter.numel() for parameter in small.parameters())
    assert count == plan.achieved.params
    assert 0.45 < count / plan.original.params <= 0.5
    x = torch.randn(2, 3, side, side)
    out = small.eval()(x)
    assert out.shape == (2, 1000)  # the output layer was found
    with torch.no_grad():
        expected = masked(model, graph, plan.kept)(x)
    assert relative_difference([out.detach()], [expected]) < 1e-4
    out.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in small.parameters())
