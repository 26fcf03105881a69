"""Least-squares repair against direct solutions and known exact cases."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import prunella
from prunella.repair import reconstruct
from prunella.repair.reconstruct import ridge_towards


def plan_without(model, example, removed):
    """Remove the named units of the first prunable group."""
    graph = prunella.trace(model, example)
    group = graph.prunable[0]
    stays = [unit for unit in range(group.size) if unit not in removed]
    return graph, prunella.Plan.from_kept(graph, {group.name: stays})


def repaired(model, example, removed, inputs, **options):
    graph, plan = plan_without(model, example, removed)
    small = plan.apply(model)
    generator = torch.Generator().manual_seed(0)
    solved = reconstruct(model, small, graph, plan.kept, inputs, generator=generator, **options)
    return small.eval(), solved


def test_copied_channel_is_replaced_exactly():
    """If a removed channel is twice a kept one, the kept one's weights can take over all of it."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False), nn.ReLU(), nn.Conv2d(4, 3, 3, stride=2, padding=1)
    ).eval()
    with torch.no_grad():
        model[0].weight[3] = 2 * model[0].weight[1]
    x = torch.randn(40, 1, 9, 9)
    small, solved = repaired(model, x[:1], {3}, x, ridge=1e-10)
    assert solved == ("2.weight",)
    with torch.no_grad():
        torch.testing.assert_close(small(x), model(x), rtol=1e-4, atol=1e-4)


def test_linear_equals_numpy_least_squares():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    x = torch.randn(300, 5)
    small, _ = repaired(model, x[:1], {0, 4}, x, ridge=1e-12)
    with torch.no_grad():
        hidden = small[1](small[0](x)).double()
        target = model(x).double()
    rows = torch.cat([hidden, torch.ones(300, 1).double()], dim=1)
    expected = torch.linalg.lstsq(rows, target).solution
    found = torch.cat([small[2].weight.detach().t(), small[2].bias.detach()[None]]).double()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_infinite_ridge_changes_nothing_and_mild_one_lowers_the_error():
    torch.manual_seed(2)
    model = prunella.networks.lenet5().eval()
    x = torch.randn(64, 1, 28, 28)
    fresh = torch.randn(64, 1, 28, 28)
    _, plan = plan_without(model, x[:1], set(range(10)))
    plain = plan.apply(model).eval()
    stiff, _ = repaired(model, x[:1], set(range(10)), x, ridge=1e12)
    mild, solved = repaired(model, x[:1], set(range(10)), x)
    assert solved == ("conv2.weight",)

    def error(network):
        with torch.no_grad():
            return float((network(fresh) - model(fresh)).norm())

    assert error(stiff) == pytest.approx(error(plain), rel=1e-4)
    assert error(mild) < 0.7 * error(plain)


def test_ridge_solution_satisfies_its_optimality_condition():
    torch.manual_seed(3)
    rows, targets = torch.randn(50, 7).double(), torch.randn(50, 2).double()
    before = torch.randn(7, 2).double()
    found = ridge_towards(rows, targets, before, 0.3)
    strength = 0.3 * (rows.t() @ rows).diagonal().mean()
    gradient = rows.t() @ (rows @ found - targets) + strength * (found - before)
    assert float(gradient.abs().max()) < 1e-10


def test_dead_inputs_keep_the_weights():
    before = torch.randn(4, 2).double()
    zero = torch.zeros(9, 4).double()
    assert torch.equal(ridge_towards(zero, torch.ones(9, 2).double(), before, 1e-4), before)


def test_later_consumers_are_fed_by_the_repaired_network():
    """Each solution is optimal given the inputs it sees in the final small network."""
    torch.manual_seed(4)
    model = nn.Sequential(
        nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 10), nn.ReLU(), nn.Linear(10, 4)
    ).eval()
    x = torch.randn(500, 6)
    graph = prunella.trace(model, x[:1])
    plan = prunella.Plan.from_kept(graph, {"0": list(range(6)), "2": list(range(7))})
    small = plan.apply(model).eval()
    generator = torch.Generator().manual_seed(0)
    reconstruct(model, small, graph, plan.kept, x, generator=generator, ridge=1e-12)
    with torch.no_grad():
        hidden = small[3](small[2](small[1](small[0](x)))).double()
        residual = (small(x) - model(x)).double()
    rows = torch.cat([hidden, torch.ones(500, 1).double()], dim=1)
    assert float((rows.t() @ residual).abs().max()) < 1e-2 * float(rows.norm())


def test_original_is_untouched_and_result_depends_on_the_seed_alone():
    torch.manual_seed(5)
    model = prunella.networks.resnet20(in_channels=1).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    x = torch.randn(16, 1, 28, 28)
    first, _ = repaired(model, x[:1], {0, 3}, x)
    second, _ = repaired(model, x[:1], {0, 3}, x)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name])


def test_weight_used_twice_is_left_alone():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.shared, self.last = nn.Linear(3, 6), nn.Linear(6, 6), nn.Linear(6, 2)

        def forward(self, x):
            return self.last(torch.relu(self.shared(torch.relu(self.shared(self.a(x))))))

    model = Twice().eval()
    x = torch.randn(30, 3)
    _, solved = repaired(model, x[:1], {1}, x)
    assert solved == ("last.weight",)
