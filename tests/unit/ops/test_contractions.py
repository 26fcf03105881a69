"""Recognising stored tensors and reading products with them, from the calls of a forward pass."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from prunella.ops import StoredTensors, contraction_of, windows


class Listener(TorchDispatchMode):
    """Collects the products of a forward pass."""

    def __init__(self, model):
        super().__init__()
        self.stored = StoredTensors(model)
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        call = contraction_of(func, args, self.stored)
        if call is not None:
            self.found.append(call)
        return func(*args, **(kwargs or {}))


def listen(model, *inputs):
    with Listener(model) as listener, torch.no_grad():
        model(*inputs)
    return listener.found


CONVOLUTIONS = {
    "plain": (nn.Conv2d(2, 4, 3), (1, 2, 7, 8)),
    "uneven": (nn.Conv2d(2, 4, (2, 3), stride=(2, 1), padding=(0, 2)), (2, 2, 7, 8)),
    "dilated": (nn.Conv2d(2, 4, 3, dilation=(2, 1), padding=1), (1, 2, 7, 8)),
    "one axis": (nn.Conv1d(2, 4, 3, stride=2, padding=1), (3, 2, 9)),
    "three axes": (nn.Conv3d(2, 4, 2, padding=1), (1, 2, 3, 4, 5)),
}


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_windows_and_call_give_the_convolution(case):
    """The normal form holds all that is needed to compute the output again."""
    layer, shape = CONVOLUTIONS[case]
    x = torch.randn(shape)
    (call,) = listen(layer, x)
    assert (call.name, call.in_axis, call.out_axis, call.channel_axis) == ("weight", 1, 0, 1)
    assert (call.groups, call.transposed) == (1, False)
    seen = windows(call.inputs, call)
    axes = list(range(2, 2 + call.spatial))
    kernel = [axis + call.spatial for axis in axes]
    product = torch.tensordot(
        seen, call.weight, dims=([1, *kernel], [1, *range(2, 2 + call.spatial)])
    )
    expected = product.movedim(-1, 1) + call.bias.view(-1, *[1] * call.spatial)
    torch.testing.assert_close(layer(x), expected)


def test_linear_layers_in_all_their_forms():
    layer = nn.Linear(3, 5)
    for x in (torch.randn(2, 3), torch.randn(2, 4, 3)):
        (call,) = listen(layer, x)
        assert (call.in_axis, call.out_axis, call.spatial) == (1, 0, 0)
        expected = call.inputs @ layer.weight.T + layer.bias
        torch.testing.assert_close(layer(x).reshape(-1, 5), expected)
    (call,) = listen(nn.Linear(3, 5, bias=False), torch.randn(2, 3))
    assert call.bias is None


def test_transposed_convolution_swaps_the_axes():
    (call,) = listen(nn.ConvTranspose2d(2, 4, 3, groups=2), torch.randn(1, 2, 5, 5))
    assert (call.in_axis, call.out_axis, call.transposed, call.groups) == (0, 1, True, 2)


def test_products_of_activations_are_none():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(3, 3))

        def forward(self, x):
            return (x @ x.T) @ (x @ x) + self.weight @ self.weight

    assert listen(Own(), torch.randn(3, 3)) == []


def test_names_of_tied_tensors_and_views():
    model = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 4), nn.Linear(4, 6))
    model[2].weight = model[0].weight
    stored = StoredTensors(model)
    assert stored.aliases["2.weight"] == "0.weight"
    assert "2.weight" not in stored.tensors
    weight = model[0].weight.detach()
    assert stored.locate(weight).axes == (0, 1)
    assert stored.locate(weight.t()).axes == (1, 0)
    part = stored.locate(weight[2:5, 1:])
    assert (part.name, part.axes, part.starts) == ("0.weight", (0, 1), (2, 1))
    row = stored.locate(weight[3])
    assert (row.axes, row.starts) == ((1,), (0,))
    column = stored.locate(weight.t()[2:3].reshape(1, 6))
    assert (column.name, column.axes[1]) == ("0.weight", 0)
    assert stored.holds(weight.flatten())
    assert stored.locate(weight.flatten()) is None  # shows two axes as one
    assert stored.locate(weight.clone()) is None
    assert not stored.holds(weight.clone())


def test_parts_of_a_fused_projection():
    class Fused(nn.Module):
        def __init__(self):
            super().__init__()
            self.both = nn.Parameter(torch.randn(6, 4))

        def forward(self, x):
            first, second = self.both.chunk(2)
            return F.linear(x, first) + F.linear(x, second)

    first, second = listen(Fused(), torch.randn(2, 4))
    assert [call.view.starts[call.view.axes.index(0)] for call in (first, second)] == [0, 3]
    assert {call.name for call in (first, second)} == {"both"}
