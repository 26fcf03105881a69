"""`torch.compile` takes a layer as one graph, and the graph computes the same."""

from __future__ import annotations

import copy

import pytest
import torch

from prunella.recurrent import PFGRU, PFLSTM

# Torch's own tracer instantiates the autograd functions that it meets.
pytestmark = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")


@pytest.fixture(autouse=True)
def _forgotten():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def trained(run, layer, x):
    """All that one training step leaves behind."""
    torch.manual_seed(0)
    means, belief = run(x)
    (means.square().sum() + belief.log_weights.square().sum()).backward()
    return [
        means, belief.particles, belief.log_weights, *layer.norm.buffers(),
        *(p.grad for p in layer.parameters()),
    ]  # fmt: skip


@pytest.mark.parametrize("Cell", [PFLSTM, PFGRU])
def test_a_compiled_layer_is_one_graph_with_the_same_results(Cell):
    torch.manual_seed(1)
    layer = Cell(3, 4, 5)
    x = torch.randn(2, 2, 3)
    other = copy.deepcopy(layer)
    compiled = torch.compile(other, backend="aot_eager", fullgraph=True)
    expected = trained(layer, layer, x)
    for own, wanted in zip(trained(compiled, other, x), expected, strict=True):
        assert torch.equal(own, wanted)
