"""Trace, plan, cut, forward and backward for every network that comes with the package."""

from __future__ import annotations

import pytest
import torch

import prunella
from prunella import networks
from prunella.surgery import masked
from prunella.surgery.verify import relative_difference

NETWORKS = {
    "lenet300_100": (1, 1, 28, 28),
    "lenet5": (1, 1, 28, 28),
    "resnet20": (1, 3, 32, 32),
    "resnet56": (1, 3, 32, 32),
    "resnet110": (1, 3, 32, 32),
    "vgg16_bn": (1, 3, 32, 32),
    "densenet22": (1, 3, 32, 32),
    "wrn16_8": (1, 3, 32, 32),
}


def build(name):
    """With batch-norm statistics and shifts as after training, so that zeros would show."""
    model = getattr(networks, name)()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(std=0.3)
                module.running_mean.normal_(std=0.3)
                module.running_var.uniform_(0.5, 1.5)
    return model


CASES = [(name, "pfp") for name in NETWORKS] + [
    (name, method) for name in ("lenet5", "resnet20") for method in ("filter-norm", "random")
]


@pytest.mark.parametrize(("name", "method"), CASES)
def test_halved_network_is_faithful(name, method):
    model, shape = build(name), NETWORKS[name]
    example = torch.randn(shape)
    graph = prunella.trace(model, example)
    scores = None
    if method != "random":
        scores = prunella.sensitivities(model, graph, [torch.randn(8, *shape[1:])])
    plan = prunella.plan(graph, scores, prunella.Params(0.5), method=method)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    small, difference = plan.apply_verified(model)

    assert difference < 1e-4
    x = torch.randn(2, *shape[1:])
    small.eval()
    expected = masked(model, graph, plan.kept).eval()
    with torch.no_grad():
        assert relative_difference([small(x)], [expected(x)]) < 1e-4
    found = prunella.cost(small, example)
    assert found == plan.achieved
    assert plan.original == prunella.cost(model, example)
    assert 0.25 < found.params / plan.original.params <= 0.5
    assert found.macs < plan.original.macs

    small.train()
    small(x).sum().backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in small.parameters())
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
