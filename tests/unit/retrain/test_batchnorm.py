"""Re-estimated batch-norm statistics against a direct computation."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import prunella
from prunella.core.errors import DataError


def network(**options):
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3),
        nn.BatchNorm2d(3, **options),
        nn.ReLU(),
        nn.Dropout(0.9),
        nn.Flatten(),
        nn.Linear(48, 4),
        nn.BatchNorm1d(4, momentum=0.3),
        nn.Dropout(0.9),
        nn.Linear(4, 2),
    )
    with torch.no_grad():
        for layer in (model[1], model[6]):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
            layer.weight.uniform_(0.5, 2)
            layer.bias.normal_()
    return model.double()


def direct(model, batches):
    """Means over batches of each batch's mean and unbiased variance, layer after layer."""
    with torch.no_grad():
        first = [model[0](x) for x in batches]
        mean1 = torch.stack([y.mean((0, 2, 3)) for y in first]).mean(0)
        var1 = torch.stack([y.var((0, 2, 3)) for y in first]).mean(0)
        # While statistics are estimated, each batch is normalised by its own.
        hidden = []
        for y in first:
            m, v = y.mean((0, 2, 3), keepdim=True), y.var((0, 2, 3), keepdim=True, correction=0)
            z = (y - m) / (v + 1e-5).sqrt()
            z = z * model[1].weight.view(1, -1, 1, 1) + model[1].bias.view(1, -1, 1, 1)
            hidden.append(model[5](z.relu().flatten(1)))
        mean2 = torch.stack([y.mean(0) for y in hidden]).mean(0)
        var2 = torch.stack([y.var(0) for y in hidden]).mean(0)
    return mean1, var1, mean2, var2


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("labelled", [False, True])
def test_statistics_are_exact(count, labelled):
    model = network()
    batches = [3 * torch.randn(5, 2, 6, 6).double() + 1 for _ in range(count)]
    expected = direct(model, batches)
    given = [(x, torch.zeros(5)) for x in batches] if labelled else batches
    prunella.reestimate_batchnorm(model, given)
    found = (
        model[1].running_mean,
        model[1].running_var,
        model[6].running_mean,
        model[6].running_var,
    )
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    assert int(model[1].num_batches_tracked) == count


def test_flags_momentum_and_weights_are_left_alone():
    model = network(momentum=0.05)
    model.train()
    model[6].eval()
    flags = [m.training for m in model.modules()]
    weights = {name: p.clone() for name, p in model.named_parameters()}
    prunella.reestimate_batchnorm(model, [torch.randn(5, 2, 6, 6).double()])
    assert [m.training for m in model.modules()] == flags
    assert (model[1].momentum, model[6].momentum) == (0.05, 0.3)
    assert all(torch.equal(weights[name], p) for name, p in model.named_parameters())
    assert all(p.grad is None for p in model.parameters())


def test_without_batch_norm_nothing_is_read():
    def never():
        raise AssertionError("the loader was read")
        yield

    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout())
    before = model[0].weight.clone()
    prunella.reestimate_batchnorm(model, never())
    assert torch.equal(model[0].weight, before)


@pytest.mark.parametrize("loader", [[], iter([]), [torch.zeros(0, 2, 6, 6).double()]])
def test_empty_loader_leaves_the_statistics(loader):
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(DataError, match="no samples to estimate batch-norm statistics from"):
        prunella.reestimate_batchnorm(model, loader)
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    assert (model[1].momentum, model[6].momentum) == (0.1, 0.3)


def test_interruption_leaves_the_statistics():
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    def interrupted():
        yield torch.randn(5, 2, 6, 6).double()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prunella.reestimate_batchnorm(model, interrupted())
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    assert (model[1].momentum, model[6].momentum) == (0.1, 0.3)
    assert all(m.training for m in model.modules())


def test_a_last_batch_of_one_sample_is_no_obstacle():
    model, other = network(), network()
    other.load_state_dict(model.state_dict())
    x = torch.randn(9, 2, 6, 6).double()
    prunella.reestimate_batchnorm(model, [x[:4], x[4:8], x[8:]])
    prunella.reestimate_batchnorm(other, [x[:4], x[4:8]])
    assert torch.equal(model[6].running_var, other[6].running_var)
    # One that is not the last joins its neighbour.
    prunella.reestimate_batchnorm(model, [x[:1], x[1:4], x[4:8]])
    assert torch.equal(model[6].running_var, other[6].running_var)
