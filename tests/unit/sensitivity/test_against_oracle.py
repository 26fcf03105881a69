"""Sensitivities against a slow, obvious evaluation of the definition."""

from __future__ import annotations

import itertools
from collections import OrderedDict

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import prunella
from prunella.core.errors import DataError, InputError


def dense_oracle(activation, weight, *, stride=1, padding=0, dilation=1):
    """s_j of a convolution in float64, by loops over samples, outputs and positions.

    activation: (N, C, H, W); weight: (O, C, k1, k2). Returns (C,).
    """
    a, w = activation.double(), weight.double()
    samples, channels, height, width = a.shape
    outputs, _, k1, k2 = w.shape
    padded = torch.zeros(samples, channels, height + 2 * padding, width + 2 * padding).double()
    padded[:, :, padding : padding + height, padding : padding + width] = a
    rows = (padded.shape[2] - dilation * (k1 - 1) - 1) // stride + 1
    columns = (padded.shape[3] - dilation * (k2 - 1) - 1) // stride + 1
    best = torch.zeros(channels).double()
    for x, i, r, c in itertools.product(
        range(samples), range(outputs), range(rows), range(columns)
    ):
        window = padded[
            x,
            :,
            r * stride : r * stride + dilation * (k1 - 1) + 1 : dilation,
            c * stride : c * stride + dilation * (k2 - 1) + 1 : dilation,
        ]
        products = (w[i] * window).reshape(channels, -1)
        for part in (products.clamp(min=0).sum(1), (-products).clamp(min=0).sum(1)):
            total = part.sum()
            if total > 0:
                best = torch.maximum(best, part / total)
    return best


class Recorder(nn.Module):
    """Passes its input on and remembers it."""

    def forward(self, x):
        self.seen = x
        return x


def small_network(*, channels, outputs, kernel, stride, padding, dilation, signed):
    return nn.Sequential(
        OrderedDict(
            make=nn.Conv2d(2, channels, 1),
            act=nn.Tanh() if signed else nn.ReLU(),
            probe=Recorder(),
            read=nn.Conv2d(
                channels, outputs, kernel, stride=stride, padding=padding, dilation=dilation
            ),
            act2=nn.ReLU(),
            last=nn.Conv2d(outputs, 1, 1),
        )
    )


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    channels=st.integers(1, 5),
    outputs=st.integers(2, 4),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    dilation=st.integers(1, 2),
    size=st.integers(5, 7),
    samples=st.integers(1, 3),
    signed=st.booleans(),
    seed=st.integers(0, 10_000),
)
def test_convolution_equals_dense_oracle(
    channels, outputs, kernel, stride, padding, dilation, size, samples, signed, seed
):
    torch.manual_seed(seed)
    channels += 1  # a lone channel is tied to be kept
    model = small_network(
        channels=channels,
        outputs=outputs,
        kernel=kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        signed=signed,
    )
    x = torch.randn(samples, 2, size, size)
    graph = prunella.trace(model, x[:1])
    scores = prunella.sensitivities(model, graph, [x])
    model(x)
    expected = dense_oracle(
        model.probe.seen.detach(),
        model.read.weight.detach(),
        stride=stride,
        padding=padding,
        dilation=dilation,
    )
    torch.testing.assert_close(scores["make"].double(), expected, rtol=1e-5, atol=1e-7)


def test_linear_and_flattened_map_equal_dense_oracle():
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 9, 6), nn.Tanh(), nn.Linear(6, 3)
    )
    x = torch.randn(5, 1, 5, 5)
    graph = prunella.trace(model, x[:1])
    scores = prunella.sensitivities(model, graph, [x])
    with torch.no_grad():
        maps = model[1](model[0](x))
        hidden = model[4](model[3](model[2](maps)))
    # A flattened map is a convolution whose kernel covers the whole map.
    as_convolution = model[3].weight.detach().reshape(6, 4, 3, 3)
    torch.testing.assert_close(
        scores["0"].double(), dense_oracle(maps, as_convolution), rtol=1e-5, atol=1e-7
    )
    torch.testing.assert_close(
        scores["3"].double(),
        dense_oracle(hidden[:, :, None, None], model[5].weight.detach()[:, :, None, None]),
        rtol=1e-5,
        atol=1e-7,
    )


class Branches(nn.Module):
    """One group of channels read by two consumers."""

    def __init__(self):
        super().__init__()
        self.make = nn.Conv2d(1, 5, 3, padding=1)
        self.left = nn.Conv2d(5, 3, 1)
        self.right = nn.Conv2d(5, 2, 3)

    def forward(self, x):
        self.seen = torch.relu(self.make(x))
        return self.left(self.seen).mean((2, 3)), self.right(self.seen).mean((2, 3))


def test_several_consumers_take_the_maximum():
    model, x = Branches(), torch.randn(3, 1, 6, 6)
    graph = prunella.trace(model, x[:1])
    scores = prunella.sensitivities(model, graph, [x])
    model(x)
    left = dense_oracle(model.seen.detach(), model.left.weight.detach())
    right = dense_oracle(model.seen.detach(), model.right.weight.detach())
    torch.testing.assert_close(
        scores["make"].double(), torch.maximum(left, right), rtol=1e-5, atol=1e-7
    )
    # eta: 36 positions for the first consumer, 16 for the second, two signs.
    assert scores.sums["make"] == 2 * (3 * 36 + 2 * 16)


@pytest.fixture(scope="module")
def setting():
    torch.manual_seed(1)
    model = prunella.networks.resnet20(in_channels=1).eval()
    x = torch.randn(40, 1, 16, 16)
    return model, prunella.trace(model, x[:1]), x


def scored(setting, batches):
    model, graph, _ = setting
    return prunella.sensitivities(model, graph, batches)


def test_order_of_batches_and_workers_changes_no_bit(setting):
    _, _, x = setting
    dataset = torch.utils.data.TensorDataset(x)
    batches = [pair[0] for pair in torch.utils.data.DataLoader(dataset, batch_size=8)]
    forward = scored(setting, batches)
    backward = scored(setting, batches[::-1])
    workers = scored(setting, torch.utils.data.DataLoader(dataset, batch_size=8, num_workers=2))
    for name in forward:
        assert torch.equal(forward[name], backward[name])
        assert torch.equal(forward[name], workers[name])


@pytest.mark.parametrize("size", [1, 7, 40])
def test_batch_size_changes_almost_nothing(setting, size):
    _, _, x = setting
    reference = scored(setting, [x])
    other = scored(setting, list(x.split(size)))
    for name in reference:
        torch.testing.assert_close(reference[name], other[name], rtol=1e-6, atol=0)


def test_scores_are_shares(setting):
    scores = scored(setting, [setting[2]])
    for group in setting[1].prunable:
        assert scores[group.name].shape == (group.size,)
        assert scores[group.name].dtype == torch.float32
        assert 0 <= float(scores[group.name].min()) <= float(scores[group.name].max()) <= 1
        # Somewhere the shares of one sum add up to 1, so the maxima add up to at least 1.
        assert float(scores[group.name].sum()) >= 1 - 1e-5
    assert scores.samples.count == 40


def test_model_flags_and_generator_are_left_alone(setting):
    model, graph, x = setting
    model.train()
    model.layer1.eval()
    flags = [module.training for module in model.modules()]
    state = torch.get_rng_state()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    prunella.sensitivities(model, graph, [x])
    assert [module.training for module in model.modules()] == flags
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    model.eval()


def test_filter_norms(setting):
    model, graph, x = setting
    scores = prunella.sensitivities(model, graph, [x[:16]])
    expected = model.layer1[0].conv1.weight.detach().flatten(1).norm(dim=1)
    torch.testing.assert_close(scores.filter_norms["layer1.0.conv1"], expected)


def test_dead_channel_scores_zero():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    with torch.no_grad():
        model[0].weight[2] = 0
        model[0].bias[2] = -1
    x = torch.randn(10, 3)
    scores = prunella.sensitivities(model, prunella.trace(model, x[:1]), [x])
    assert float(scores["0"][2]) == 0
    assert float(scores["0"].max()) > 0


def test_errors(setting):
    model, graph, x = setting
    with pytest.raises(DataError, match="calibration loader is empty"):
        prunella.sensitivities(model, graph, [])
    bad = x.clone()
    bad[3, 0, 0, 0] = float("nan")
    with pytest.raises(DataError, match="NaN or infinite"):
        prunella.sensitivities(model, graph, [bad])
    with pytest.raises(DataError, match=r"input of 'layer1.*weight' holds NaN"):
        prunella.sensitivities(model, graph, [x.clamp(-3, 3) * 1e38])
    broken = prunella.networks.resnet20(in_channels=1)
    with torch.no_grad():
        broken.layer2[0].conv1.weight[0, 0, 0, 0] = float("inf")
    with pytest.raises(InputError, match=r"'layer2.0.conv1.weight' holds 1 NaN or infinite"):
        prunella.sensitivities(broken, graph, [x])
