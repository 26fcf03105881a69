"""Sums that nothing depends on: which they are, how far they may stray, and what that gives."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import prunella
from prunella.core.inputs import Inputs
from prunella.repair import reconstruct
from prunella.repair.equations import Equations, Solution
from prunella.repair.idle import Consumer, Threshold, idle_sums


def found_in(model, name, x, first, places, in_axis=1):
    consumer = Consumer(in_axis=in_axis, first=first, places=places)
    generator = torch.Generator().manual_seed(0)
    return idle_sums(model, {name: consumer}, Inputs.of(x), generator, at_once=64)


def everywhere(*shape):
    places = torch.unravel_index(torch.arange(torch.Size(shape).numel()), shape)
    return tuple(places)


@pytest.fixture
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


# -- which sums ----------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [7, 150])  # one backward pass, and three
def test_negative_sums_before_a_relu(seeded, samples):
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 2))
    x = torch.randn(samples, 3)
    found = found_in(model, "2.weight", x, samples, everywhere(samples))
    with torch.no_grad():
        assert torch.equal(found["2.weight"], model[:3](x) < 0)


def test_sums_that_lose_in_pooling_or_are_negative(seeded):
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.ReLU(),
        nn.Flatten(), nn.Linear(16, 2),
    )  # fmt: skip
    x = torch.randn(5, 1, 8, 8)
    found = found_in(model, "2.weight", x, 5, everywhere(5, 4, 4))["2.weight"]
    with torch.no_grad():
        sums = model[:3](x)
        largest = nn.functional.interpolate(nn.functional.max_pool2d(sums, 2), scale_factor=2)
    expected = (sums < largest) | (sums < 0)
    assert torch.equal(found, expected.movedim(1, -1).flatten(0, 2))


def test_rows_of_flattened_positions(seeded):
    """A linear layer on sequences sees (samples * steps, features)."""
    model = nn.Sequential(
        nn.Linear(3, 5), nn.Linear(5, 6), nn.ReLU(), nn.Flatten(), nn.Linear(24, 2)
    )
    x = torch.randn(60, 4, 3)
    found = found_in(model, "1.weight", x, 240, everywhere(240))["1.weight"]
    with torch.no_grad():
        assert torch.equal(found, (model[:2](x) < 0).flatten(0, 1))
    # In several passes nothing says whether rows go by samples or by steps.
    x = torch.randn(70, 4, 3)
    assert found_in(model, "1.weight", x, 280, everywhere(280)) == {}


def test_what_autograd_refuses_and_half_precision_tell_nothing(seeded):
    class Overwritten(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(3, 5), nn.Linear(5, 6), nn.Linear(6, 2)

        def forward(self, x):
            hidden = self.b(self.a(x)).sigmoid()
            hidden.mul_(2)
            return self.c(hidden)

    x = torch.randn(9, 3)
    assert found_in(Overwritten(), "b.weight", x, 9, everywhere(9)) == {}
    half = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 2)).half()
    assert found_in(half, "1.weight", x.half(), 9, everywhere(9)) == {}


def test_some_places_only(seeded):
    model = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 2))
    x = torch.randn(200, 3)
    places = (torch.tensor([3, 64, 65, 130, 199]),)
    found = found_in(model, "1.weight", x, 200, places)["1.weight"]
    with torch.no_grad():
        assert torch.equal(found, model[:2](x)[places] < 0)


def test_smooth_activations_leave_no_sum_idle(seeded):
    model = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 6), nn.GELU(), nn.Linear(6, 2))
    found = found_in(model, "1.weight", torch.randn(50, 3), 50, everywhere(50))
    assert not found["1.weight"].any()


def test_a_network_without_derivatives_tells_nothing_and_flags_stay(seeded):
    class Detached(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2))

        def forward(self, x):
            return self.inner(x).detach()

    model = Detached()
    model.inner[0].weight.requires_grad_(False)
    x = torch.randn(4, 3)
    assert found_in(model, "inner.1.weight", x, 4, everywhere(4)) == {}
    flags = [parameter.requires_grad for parameter in model.parameters()]
    assert flags == [False, True, True, True]
    assert all(parameter.grad is None for parameter in model.parameters())


def test_frozen_weights_have_derivatives_all_the_same(seeded):
    model = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 2))
    model.requires_grad_(False)
    x = torch.randn(9, 3)
    found = found_in(model, "1.weight", x, 9, everywhere(9))["1.weight"]
    assert torch.equal(found, model[:2](x) < 0)
    assert not any(parameter.requires_grad for parameter in model.parameters())


# -- how far they may stray ----------------------------------------------------------------------

INF = float("inf")


def column(*numbers):
    return torch.tensor(numbers, dtype=torch.float64).unsqueeze(1)


def test_below_the_threshold_of_a_relu():
    values = column(-2, -0.1, 0.2, 3)
    idle = values < 0
    wanted = Threshold.of(values, idle).wanted(values, idle)
    assert wanted.low.flatten().tolist() == [-INF, -INF, 0.2, 3]
    assert wanted.high.flatten().tolist() == pytest.approx([-0.1, -0.1, 0.2, 3])


def test_above_it_where_a_batch_norm_has_a_negative_scale():
    values = column(2, 0.1, -0.2, -3)
    idle = values > 0
    wanted = Threshold.of(values, idle).wanted(values, idle)
    assert wanted.low.flatten().tolist() == pytest.approx([0.1, 0.1, -0.2, -3])
    assert wanted.high.flatten().tolist() == [INF, INF, -0.2, -3]


def test_what_loses_in_pooling_may_go_down_only():
    values = column(1, 0.5, 2, 0.7)
    idle = torch.tensor([[False], [True], [False], [False]]).logical_or(column(0, 0, 0, 1) > 0)
    wanted = Threshold.of(values, idle).wanted(values, idle)
    assert wanted.high.flatten().tolist() == pytest.approx([1, 0.7, 2, 0.7])
    assert wanted.low.flatten().tolist() == [1, -INF, 2, -INF]


def test_beyond_the_upper_end_of_a_relu6_values_stay():
    values = column(-2, -1, 1, 3, 8)
    idle = column(1, 1, 0, 0, 1) > 0
    wanted = Threshold.of(values, idle).wanted(values, idle)
    assert wanted.low.flatten().tolist() == [-INF, -INF, 1, 3, 8]
    assert wanted.high.flatten().tolist() == [-1, -1, 1, 3, 8]


def test_an_output_of_which_no_sum_counts_keeps_its_values():
    values = column(-1, -2)
    wanted = Threshold.of(values, values < 0).wanted(values, values < 0)
    assert torch.equal(wanted.low, values)
    assert torch.equal(wanted.high, values)


# -- what that gives -----------------------------------------------------------------------------


@given(seed=st.integers(0, 10_000), bias=st.booleans(), few=st.booleans())
def test_no_step_makes_the_objective_larger(seed, bias, few):
    generator = torch.Generator().manual_seed(seed)
    count, inputs = (6, 9) if few else (60, 5)
    rows = torch.randn(count, inputs, generator=generator).double()
    values = torch.randn(count, 3, generator=generator).double()
    wanted = Threshold.of(values, values < 0).wanted(values, values < 0)
    before = Solution(
        weight=torch.randn(inputs, 3, generator=generator).double(),
        bias=torch.zeros(3).double() if bias else None,
    )
    equations = Equations(lambda: [(rows, wanted)], count, before)
    ridge = 0.1
    strength = ridge * float(equations.scale)

    def objective(solution):
        change = float((solution.weight - before.weight).square().sum())
        return solution.error(rows, wanted) + strength * change

    solution = equations.solution(ridge)
    first = last = objective(solution)
    for _ in range(30):
        solution = equations.improved(solution, ridge)
        now = objective(solution)
        assert now <= last * (1 + 1e-9)
        last = now
    # Six rows can be met as well as they may be by the first solution.
    assert few or last < first


def test_what_a_relu_gives_is_repaired_exactly_where_its_input_cannot_be(seeded):
    """The sum that counts is that of the kept unit; below zero the removed one would be needed."""
    model = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1), nn.ReLU(), nn.Linear(1, 1))
    with torch.no_grad():
        for layer, weight, bias in (
            (model[0], [[1.0], [-1.0]], [0.0, 0.0]),
            (model[2], [[1.0, -2.0]], [0.0]),  # x where x > 0, and 2 x where x < 0
            (model[4], [[1.0]], [0.0]),
        ):
            layer.weight.copy_(torch.tensor(weight))
            layer.bias.copy_(torch.tensor(bias))
            if layer is model[2]:
                layer.weight[0, 0] = 0.5  # what is kept must change to be right
    x = torch.randn(400, 1)
    graph = prunella.trace(model, x[:1])
    plan = prunella.Plan.from_kept(graph, {"0": [0]})
    small = plan.apply(model).eval()
    with torch.no_grad():
        small[2].weight.fill_(2.0)
        original, cut = model(x), small(x)
    generator = torch.Generator().manual_seed(0)
    reconstruct(model, small, graph, plan.kept, x, judging=80, generator=generator, ridges=[1e-6])
    with torch.no_grad():
        error = float((small(x) - original).norm() / original.norm())
        # Least squares on the sums themselves, as without slack.
        hidden = torch.cat([torch.relu(x), torch.ones(400, 1)], 1).double()
        plain = torch.linalg.lstsq(hidden, model[:3](x).double()).solution
        error_plain = float((torch.relu(hidden @ plain) - original).norm() / original.norm())
    assert float((cut - original).norm() / original.norm()) > 0.9
    assert error_plain > 0.1
    assert error < 0.3 * error_plain
