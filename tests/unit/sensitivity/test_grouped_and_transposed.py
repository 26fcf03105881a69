"""Sensitivities of grouped and transposed convolutions against the definition, unit by unit."""

from __future__ import annotations

from collections import OrderedDict

import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import prunella


def oracle(activation, units, apply, weight):
    """s_u in float64: run the layer on each unit's channels alone, with both signs apart."""
    a, w = activation.double(), weight.double()
    plus, minus = (w.clamp(min=0), (-w).clamp(min=0))

    def sums(x):
        up, down = x.clamp(min=0), (-x).clamp(min=0)
        return torch.stack(
            [apply(up, plus) + apply(down, minus), apply(up, minus) + apply(down, plus)]
        )

    total = sums(a)
    shares = []
    for unit in units:
        alone = torch.zeros_like(a)
        alone[:, unit] = a[:, unit]
        part = sums(alone)
        shares.append(torch.where(total > 0, part / total, 0).max())
    return torch.stack(shares)


class Recorder(nn.Module):
    def forward(self, x):
        self.seen = x
        return x


def scored(read, channels, *, signed, size=6):
    """The network's scores, units and what the layer under test read."""
    model = nn.Sequential(
        OrderedDict(
            make=nn.Conv2d(2, channels, 1),
            act=nn.Tanh() if signed else nn.ReLU(),
            probe=Recorder(),
            read=read,
            act2=nn.ReLU(),
            last=nn.Conv2d(read.out_channels, 1, 1),
        )
    )
    x = torch.randn(3, 2, size, size)
    graph = prunella.trace(model, x[:1])
    scores = prunella.sensitivities(model, graph, [x])
    with torch.no_grad():
        model(x)
    (made,) = (m for m in graph.group("make").members if m.tensor == "make.weight")
    return scores["make"], made.indices, model.probe.seen, model, graph


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    groups=st.integers(2, 3),
    width=st.integers(4, 5),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 2),
    signed=st.booleans(),
    seed=st.integers(0, 10_000),
)
def test_groups_that_stay_equal(groups, width, kernel, stride, signed, seed):
    torch.manual_seed(seed)
    channels = groups * width  # fewer groups than channels in each: equal places go together
    read = nn.Conv2d(channels, 2 * groups, kernel, stride=stride, groups=groups, bias=False)
    found, units, seen, *_ = scored(read, channels, signed=signed)
    assert units.shape == (width, groups)
    expected = oracle(
        seen, units, lambda a, w: F.conv2d(a, w, stride=stride, groups=groups), read.weight.detach()
    )
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-7)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    groups=st.integers(1, 2),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    padding=st.integers(0, 4),
    dilation=st.integers(1, 2),
    extra=st.integers(0, 1),
    signed=st.booleans(),
    seed=st.integers(0, 10_000),
)
def test_transposed(groups, kernel, stride, padding, dilation, extra, signed, seed):
    assume(extra < max(stride, dilation))
    assume(5 * stride + dilation * (kernel - 1) + 1 + extra - 2 * padding > 0)
    torch.manual_seed(seed)
    channels = 4 * groups
    options = {
        "stride": stride, "padding": padding, "dilation": dilation, "output_padding": extra,
        "groups": groups,
    }  # fmt: skip
    read = nn.ConvTranspose2d(channels, 2 * groups, kernel, bias=False, **options)
    found, units, seen, *_ = scored(read, channels, signed=signed)
    expected = oracle(
        seen, units, lambda a, w: F.conv_transpose2d(a, w, **options), read.weight.detach()
    )
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-7)


def test_sums_are_counted_over_all_groups():
    read = nn.Conv2d(8, 6, 3, groups=2, bias=False)
    *_, model, graph = scored(read, 8, signed=False)
    sums = prunella.sensitivities(model, graph, [torch.randn(3, 2, 6, 6)]).sums
    assert sums["make"] == 2 * 6 * 4 * 4
    transposed = nn.ConvTranspose2d(4, 5, 3, stride=2, bias=False)
    *_, model, graph = scored(transposed, 4, signed=False)
    sums = prunella.sensitivities(model, graph, [torch.randn(3, 2, 6, 6)]).sums
    assert sums["make"] == 2 * 5 * 13 * 13
