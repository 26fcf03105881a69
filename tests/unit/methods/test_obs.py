"""The method `obs`: what it sums in one pass, and what it chooses."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import prunella
from prunella.methods import obs, reads
from prunella.repair import reconstruct


def scores(model, x, **options):
    graph = prunella.trace(model, x[:1])
    return graph, prunella.score(model, graph, [x], "obs", **options)


def test_in_a_linear_network_the_loss_is_the_change_of_the_outputs():
    """Two layers, all samples seen: the loss of the first unit to go is what repair leaves."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3, bias=False)).double().eval()
    x = torch.randn(200, 6).double()
    graph, found = scores(model, x)
    (group,) = graph.prunable
    first = int(found[group.name].argmin())
    with torch.no_grad():
        hidden, whole = model[1](model[0](x)), model(x)
        others = [u for u in range(5) if u != first]
        best = torch.linalg.lstsq(hidden[:, others], whole).solution
        left = (hidden[:, others] @ best - whole).square().sum() / whole.square().sum()
    # (dv/dz)^2 is 1 for each output here, whatever the signs; the ridge adds a little.
    assert float(found[group.name][first]) == pytest.approx(float(left), rel=1e-2)


def test_gradients_are_those_of_autograd_for_convolutions_and_matrices():
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(6 * 16, 8), nn.ReLU(), nn.Linear(8, 3),
    ).eval()  # fmt: skip
    x = torch.randn(12, 1, 8, 8)
    graph = prunella.trace(model, x[:1])
    watcher = reads.Reads(model, graph, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(7)
    obs._run(model, watcher, list(model.parameters()), prunella.core.inputs.Inputs.of(x), 12,
             generator)  # fmt: skip
    signs = 2.0 * torch.randint(0, 2, (12, 3), generator=generator.manual_seed(7)) - 1
    values = {}
    for name in ("2", "5", "7"):
        model[int(name)].register_forward_hook(
            lambda _, __, out, name=name: (out.retain_grad(), values.__setitem__(name, out))[0]
        )
    (model(x) * signs).sum().backward()
    for name, out in values.items():
        expected = float(out.grad.double().square().sum())
        assert watcher.gradients[f"{name}.weight"] == pytest.approx(expected, rel=1e-5)


def test_the_model_is_left_as_it_was():
    torch.manual_seed(2)
    model = prunella.networks.lenet5()
    model.train()
    model.conv1.weight.requires_grad_(False)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    scores(model, torch.randn(8, 1, 28, 28))
    assert model.training
    assert not model.conv1.weight.requires_grad
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_batches_do_not_matter_where_all_positions_are_taken():
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 1)).eval()
    x = torch.randn(30, 6)
    graph = prunella.trace(model, x[:1])
    one = prunella.score(model, graph, [x], "obs")
    many = prunella.score(model, graph, list(x.split(7)), "obs")
    torch.testing.assert_close(one["0"], many["0"], rtol=1e-3, atol=1e-7)


def test_grouped_transposed_and_shared_consumers_are_scored():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(1, 8, 3, padding=1)
            self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=4)
            self.up = nn.ConvTranspose2d(8, 6, 2, stride=2)
            self.last = nn.Conv2d(6, 2, 1)

        def forward(self, x):
            x = torch.relu(self.first(x))
            x = torch.relu(self.grouped(x)) + x
            return self.last(torch.relu(self.up(x)))

    torch.manual_seed(4)
    model = Net().eval()
    x = torch.randn(6, 1, 6, 6)
    graph, found = scores(model, x)
    assert {group.name for group in graph.prunable} == set(found)
    for group in graph.prunable:
        assert float(found[group.name].max()) > 0
    plan = prunella.plan(graph, found, prunella.Flops(0.6), "obs")
    small, difference = plan.apply_verified(model)
    assert difference < 1e-5
    assert small(x).shape == model(x).shape


def test_consumers_with_too_many_inputs_count_units_as_uncorrelated(monkeypatch):
    monkeypatch.setattr(reads, "MOST", 10)
    torch.manual_seed(5)
    model = nn.Sequential(
        nn.Conv2d(1, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 4, 3, bias=False)
    ).eval()
    x = torch.randn(50, 1, 4, 4)
    graph, found = scores(model, x)
    (group,) = graph.prunable
    with torch.no_grad():
        hidden = model[2](model[1](model[0](x))).reshape(50, 5, 4)
        own = torch.einsum("nuk,ouk->nuo", hidden, model[3].weight.reshape(3, 5, 4))
        energy = own.square().sum(dim=(0, 2)) / model(x).square().sum()
    expected = energy.sort().values.cumsum(0)[energy.argsort().argsort()]
    torch.testing.assert_close(found[group.name], expected.float(), rtol=1e-4, atol=1e-7)


def test_without_gradients_the_message_says_what_to_do():
    class Detached(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 6), nn.Linear(6, 2)

        def forward(self, x):
            return self.b(torch.relu(self.a(x))).detach()

    with pytest.raises(prunella.InputError, match=r"'obs' needs gradients.*runs under no_grad"):
        scores(Detached().eval(), torch.randn(5, 4))


def test_after_the_repair_it_beats_random_choice_by_far():
    torch.manual_seed(6)
    model = nn.Sequential(
        nn.Linear(10, 30), nn.ReLU(), nn.Linear(30, 30), nn.ReLU(), nn.Linear(30, 4)
    ).eval()
    x, fresh = torch.randn(2, 600, 10)
    graph, found = scores(model, x)

    def error(method, known, seed=0):
        plan = prunella.plan(graph, known, prunella.Flops(0.5), method, seed=seed)
        small = plan.apply(model).eval()
        reconstruct(model, small, graph, plan.kept, x, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            return float((small(fresh) - model(fresh)).square().sum())

    chance = [error("random", None, seed) for seed in range(5)]
    assert error("obs", found) < 0.6 * min(chance)
