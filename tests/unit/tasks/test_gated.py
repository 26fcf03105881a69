"""LSTM and GRU with batch norm: the equations, running statistics, and padding."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from prunella.tasks import BatchNormRNN

KINDS = ["lstm", "gru"]


def cell(kind, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = BatchNormRNN(kind, 3, 5).double()
        with torch.no_grad():
            for tensor in (model.norm.weight, model.norm.bias, model.norm.running_mean):
                tensor.copy_(torch.randn(tensor.shape))
            model.norm.running_var.copy_(torch.rand(100, 5) + 0.5)
            model.norm.running_count.fill_(1)
    return model


def inputs(batch=4, steps=6, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, steps, 3, generator=generator, dtype=torch.float64)


def by_hand(model, x, normalise):
    """Step by step, sequence by sequence except in `normalise`."""
    sigmoid = torch.sigmoid
    h = c = torch.zeros(len(x), 5, dtype=x.dtype)
    states = []
    for t in range(x.shape[1]):
        given = F.linear(x[:, t], model.of_input.weight, model.of_input.bias)
        own = F.linear(h, model.of_state.weight, model.of_state.bias)
        if model.kind == "lstm":
            f, i, o, g = (given[:, 5 * n : 5 * n + 5] + own[:, 5 * n : 5 * n + 5] for n in range(4))
            c = sigmoid(f) * c + sigmoid(i) * F.leaky_relu(normalise(g, t), 0.01)
            h = sigmoid(o) * torch.tanh(c)
        else:
            z, r = (given[:, 5 * n : 5 * n + 5] + own[:, 5 * n : 5 * n + 5] for n in range(2))
            inner = F.linear(sigmoid(r) * h, model.of_reset.weight, model.of_reset.bias)
            new = F.leaky_relu(normalise(given[:, 10:] + inner, t), 0.01)
            h = (1 - sigmoid(z)) * new + sigmoid(z) * h
        states.append(h)
    return torch.stack(states, 1)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_follows_the_equations(kind, training):
    model = cell(kind).train(training)
    norm = model.norm
    scale, shift = norm.weight.detach().clone(), norm.bias.detach().clone()
    mean, variance = norm.running_mean.clone(), norm.running_var.clone()

    def normalise(values, t):
        centre, spread = mean[t], variance[t]
        if training:
            centre, spread = values.mean(0), values.var(0, unbiased=False)
        return (values - centre) / (spread + 1e-5).sqrt() * scale + shift

    x = inputs()
    torch.testing.assert_close(model(x), by_hand(model, x, normalise))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_padding_is_never_read(kind, training):
    x, lengths = inputs(), torch.tensor([2, 6, 1, 4])
    other = x.clone()
    for row, length in enumerate(lengths):
        other[row, length:] = 1e6
    states = []
    for given in (x, other):
        model = cell(kind).train(training)
        states.append((model(given, lengths), model.norm.running_var.clone()))
    assert torch.equal(states[0][0], states[1][0])
    assert torch.equal(states[0][1], states[1][1])
    for row, length in enumerate(lengths):
        assert not states[0][0][row, length:].any()
    if not training:
        alone = cell(kind).eval()(x[:1, :2])
        torch.testing.assert_close(states[0][0][:1, :2], alone)


@pytest.mark.parametrize("kind", KINDS)
def test_one_sequence_alone_uses_the_running_statistics(kind):
    x = inputs(batch=1)
    assert torch.equal(cell(kind).train()(x), cell(kind).eval()(x))
