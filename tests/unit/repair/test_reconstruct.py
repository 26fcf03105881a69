"""Least-squares repair against direct solutions and known exact cases."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import prunella
from prunella.core.errors import InputError
from prunella.core.inputs import Inputs
from prunella.repair import needs_of, reconstruct
from prunella.repair.equations import Equations, Solution, Wanted


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
    small, solved = repaired(model, x[:1], {3}, x, ridges=[1e-10])
    assert solved == ("2.weight",)
    with torch.no_grad():
        torch.testing.assert_close(small(x), model(x), rtol=1e-4, atol=1e-4)


def test_linear_equals_numpy_least_squares():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    x = torch.randn(300, 5)
    small, _ = repaired(model, x[:1], {0, 4}, x, ridges=[1e-12])
    with torch.no_grad():
        hidden = small[1](small[0](x)).double()
        target = model(x).double()
    rows = torch.cat([hidden, torch.ones(300, 1).double()], dim=1)
    expected = torch.linalg.lstsq(rows, target).solution
    found = torch.cat([small[2].weight.detach().t(), small[2].bias.detach()[None]]).double()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_infinite_ridge_repairs_the_mean_alone_and_mild_one_lowers_the_error():
    torch.manual_seed(2)
    model = prunella.networks.lenet5().eval()
    x = torch.randn(64, 1, 28, 28)
    fresh = torch.randn(64, 1, 28, 28)
    _, plan = plan_without(model, x[:1], set(range(10)))
    plain = plan.apply(model).eval()
    mean, _ = repaired(model, x[:1], set(range(10)), x, kind="mean")
    stiff, _ = repaired(model, x[:1], set(range(10)), x, ridges=[1e12])
    mild, solved = repaired(model, x[:1], set(range(10)), x)
    assert solved == ("conv2.weight",)

    def error(network):
        with torch.no_grad():
            return float((network(fresh) - model(fresh)).norm())

    assert error(stiff) == pytest.approx(error(mean), rel=1e-4)
    assert error(mean) < 0.8 * error(plain)
    assert error(mild) < 0.7 * error(plain)


def parts(rows, targets):
    wanted = map(Wanted.exactly, targets.split(7))
    blocks = list(zip(rows.split(7), wanted, strict=True))
    return lambda: blocks


@pytest.mark.parametrize("count", [50, 5])
@pytest.mark.parametrize("bias", [True, False])
def test_solution_satisfies_its_optimality_condition(count, bias):
    """With more rows than inputs and with fewer, with a bias and without one."""
    torch.manual_seed(3)
    rows, targets = torch.randn(count, 7).double() + 1, torch.randn(count, 2).double()
    before = Solution(
        weight=torch.randn(7, 2).double(), bias=torch.ones(2).double() if bias else None
    )
    found = Equations(parts(rows, targets), count, before).solution(0.3)
    centred = rows - rows.mean(dim=0) if bias else rows
    strength = 0.3 * centred.square().sum() / 7
    residual = rows @ found.weight + (found.bias if bias else 0) - targets
    gradient = centred.t() @ residual + strength * (found.weight - before.weight)
    assert float(gradient.abs().max()) < 1e-10
    if bias:
        assert float(residual.mean(dim=0).abs().max()) < 1e-12


def test_many_inputs_are_solved_as_exactly_as_few():
    """From 257 inputs on products are formed in single precision."""
    torch.manual_seed(4)
    rows, targets = torch.randn(900, 300), torch.randn(900, 3)
    before = Solution(weight=torch.randn(300, 3).double(), bias=None)
    found = Equations(parts(rows, targets), 900, before).solution(1e-3).weight
    gram = rows.double().t() @ rows.double()
    strength = 1e-3 * gram.diagonal().mean() * torch.eye(300).double()
    right = rows.double().t() @ targets.double() + strength @ before.weight
    torch.testing.assert_close(
        found, torch.linalg.solve(gram + strength, right), rtol=1e-3, atol=1e-5
    )


def test_dead_inputs_have_no_solution_but_a_mean():
    before = Solution(weight=torch.randn(4, 2).double(), bias=torch.zeros(2).double())
    equations = Equations(parts(torch.zeros(9, 4), torch.ones(9, 2)), 9, before)
    assert equations.solution(1e-4) is None
    assert equations.mean().bias.tolist() == [1.0, 1.0]
    assert torch.equal(equations.mean().weight, before.weight)


def test_the_mean_repair_makes_means_agree_and_keeps_the_weights():
    torch.manual_seed(5)
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)).eval()
    x = torch.randn(300, 5)
    _, plan = plan_without(model, x[:1], {0, 4})
    cut = plan.apply(model).eval()
    small, changed = repaired(model, x[:1], {0, 4}, x, kind="mean")
    assert changed == ("2.weight",)
    assert torch.equal(small[2].weight, cut[2].weight)
    with torch.no_grad():
        torch.testing.assert_close(small(x).mean(dim=0), model(x).mean(dim=0))
        assert float((cut(x) - model(x)).mean(dim=0).abs().max()) > 0.01


def test_a_repair_that_new_samples_contradict_is_not_made():
    """For the samples that judge, unlike those that are solved with, the channel is off."""
    torch.manual_seed(6)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    with torch.no_grad():
        model[0].weight[1] = torch.tensor([1.0, 0.0, 0.0])
        model[0].bias[1] = 0
    solving, judging = torch.randn(200, 3), torch.randn(50, 3)
    judging[:, 0] = -judging[:, 0].abs()
    both = torch.cat([solving, judging])
    _, plan = plan_without(model, both[:1], {1})
    cut = plan.apply(model).eval()
    small, changed = repaired(model, both[:1], {1}, both, judging=50)
    alone, _ = repaired(model, both[:1], {1}, both)
    x = judging

    def error(network):
        with torch.no_grad():
            return float((network(x) - model(x)).norm())

    assert changed == ()
    assert error(alone) > error(cut)
    for name, tensor in small.state_dict().items():
        assert torch.equal(tensor, cut.state_dict()[name])


def test_held_out_samples_choose_the_ridge():
    """Few equations with much noise: the best of several ridges is none of the smallest."""
    torch.manual_seed(7)
    model = nn.Sequential(nn.Linear(40, 40), nn.Tanh(), nn.Linear(40, 5, bias=False)).eval()
    x, fresh = torch.randn(80, 40), torch.randn(500, 40)

    def error(ridges):
        small, _ = repaired(model, x[:1], set(range(20)), x, judging=30, ridges=ridges)
        with torch.no_grad():
            return float((small(fresh) - model(fresh)).norm())

    each = {ridge: error([ridge]) for ridge in (1e-6, 1e-2, 1.0)}
    assert error([1e-6, 1e-2, 1.0]) == min(each.values()) < 0.9 * each[1e-6]


def test_samples_within_memory():
    model = prunella.networks.resnet20(in_channels=1).eval()
    one = Inputs.of(torch.zeros(1, 1, 28, 28))
    # The sum of two times 16 maps: 37,632 numbers of 4 bytes with the result, three times.
    needs = needs_of(model, one, ())
    assert needs.within(1 << 30) == (1 << 30) // (3 * 4 * 37_632)
    assert needs.within(1) == 1
    assert needs.samples == 0


def test_samples_for_the_consumer_with_most_inputs_to_a_position():
    """LeNet-5: 500 inputs of its last layer, one position; 500 of its second, at 64 positions."""
    model = prunella.networks.lenet5().eval()
    one = Inputs.of(torch.zeros(1, 1, 28, 28))
    assert needs_of(model, one, {"fc2.weight"}).samples == 32 * 500
    assert needs_of(model, one, {"conv2.weight"}).samples == 32 * 500 / 64
    assert needs_of(model, one, {"conv2.weight", "fc1.weight"}).samples == 32 * 800


def test_weights_are_no_activations_whatever_view_of_them_is_read():
    model = nn.Sequential(nn.Linear(5, 4000), nn.ReLU(), nn.Linear(4000, 4000)).eval()
    one = Inputs.of(torch.zeros(1, 5))
    assert needs_of(model, one, ()).within(1 << 20) == (1 << 20) // (3 * 4 * 8_000)


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
    reconstruct(model, small, graph, plan.kept, x, generator=generator, ridges=[1e-12])
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


def test_samples_in_one_backward_pass():
    model = nn.Sequential(nn.Linear(5, 100), nn.ReLU(), nn.Linear(100, 3)).eval()
    needs = needs_of(model, Inputs.of(torch.zeros(1, 5)), ())
    assert needs.bytes_kept == 4 * (100 + 100 + 3)
    assert needs.backwards_within(4 * 203 * 10) == 10
    assert needs.backwards_within(1) == 1
    assert needs.backwards_within(1 << 40) == 64


def test_grouped_and_transposed_consumers_keep_their_values():
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2), nn.ReLU(), nn.ConvTranspose2d(8, 4, 4, stride=2, padding=1)
    ).eval()
    x = torch.randn(6, 1, 5, 5)
    assert needs_of(model, Inputs.of(x[:1]), {"2.weight"}).samples == 0
    _, solved = repaired(model, x[:1], {1}, x, judging=2)
    assert solved == ()


def test_a_computed_bias_cannot_be_solved_for():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(3, 6), nn.Linear(6, 2)

        def forward(self, x):
            return nn.functional.linear(torch.relu(self.a(x)), self.b.weight, 2 * self.b.bias)

    x = torch.randn(40, 3)
    _, solved = repaired(Scaled().eval(), x[:1], {1}, x, judging=8)
    assert solved == ()


def test_rows_that_are_not_finite_repair_nothing():
    model = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 2)).eval()
    x = torch.randn(40, 3)
    x[3, 0] = x[-3, 0] = float("nan")
    small, solved = repaired(model, x[:1], {1}, x, judging=8)
    assert solved == ()
    assert all(bool(torch.isfinite(tensor).all()) for tensor in small.state_dict().values())


@pytest.mark.parametrize("judging", [-1, 40, 100])
def test_some_samples_must_be_left_to_solve_with(judging):
    model = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 2)).eval()
    x = torch.randn(40, 3)
    with pytest.raises(InputError, match=f"{judging} of 40 samples are to judge the repair"):
        repaired(model, x[:1], {1}, x, judging=judging)
