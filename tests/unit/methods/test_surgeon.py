"""Greedy removal against least squares solved from nothing."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prunella.methods.surgeon import (
    RIDGE,
    Correlated,
    Uncorrelated,
    convex_slopes,
    removal_losses,
)


def problem(units, each, outputs, seed, others=2, rows=60):
    """Rows with correlated columns; `others` inputs belong to no unit."""
    generator = torch.Generator().manual_seed(seed)
    inputs = units * each + others
    mixing = torch.randn(inputs, inputs, generator=generator).double()
    data = torch.randn(rows, inputs, generator=generator).double() @ mixing
    weight = torch.randn(inputs, outputs, generator=generator).double()
    blocks = torch.randperm(inputs, generator=generator)[: units * each].reshape(units, each)
    return data.t() @ data, weight, blocks


def least_loss(gram, weight, gone):
    """What the sums lose at least without some inputs: a least-squares problem of its own."""
    ridged = gram + RIDGE * gram.diagonal().mean() * torch.eye(len(gram))
    stays = [i for i in range(len(gram)) if i not in set(gone)]
    best = torch.zeros_like(weight)
    if stays:
        best[stays] = torch.linalg.solve(ridged[stays][:, stays], (ridged @ weight)[stays])
    missing = best - weight
    return float((missing * (ridged @ missing)).sum())


@settings(deadline=None, max_examples=30)
@given(
    units=st.integers(1, 6),
    each=st.integers(1, 3),
    outputs=st.integers(1, 4),
    seed=st.integers(0, 10_000),
)
def test_every_step_is_the_best_and_its_loss_that_of_least_squares(units, each, outputs, seed):
    gram, weight, blocks = problem(units, each, outputs, seed)
    losses = removal_losses([Correlated(gram, weight, blocks, 0.5)], units)
    gone: list[int] = []
    for unit in losses.argsort(stable=True).tolist():
        candidates = {
            other: 0.5 * least_loss(gram, weight, blocks[[*gone, other]].reshape(-1).tolist())
            for other in range(units)
            if other not in gone
        }
        assert candidates[unit] == pytest.approx(min(candidates.values()), rel=1e-6)
        assert float(losses[unit]) == pytest.approx(candidates[unit], rel=1e-6)
        gone.append(unit)


def test_several_at_once_have_the_losses_of_one_after_another():
    """From 128 units on two go at a time; the loss of all that are gone is still exact."""
    gram, weight, blocks = problem(130, 1, 3, seed=5, rows=400)
    losses = removal_losses([Correlated(gram, weight, blocks, 1.0)], 130)
    order = losses.argsort(stable=True)
    for count in (1, 2, 3, 40, 100, 129):
        gone = blocks[order[:count]].reshape(-1).tolist()
        expected = least_loss(gram, weight, gone)
        assert float(losses[order[count - 1]]) == pytest.approx(expected, rel=1e-5)


def test_errors_of_several_consumers_add_up_with_their_scales():
    first, second = problem(4, 2, 3, seed=1), problem(4, 1, 2, seed=2)
    systems = [Correlated(*first, 2.0), Correlated(*second, 0.25)]
    losses = removal_losses(systems, 4)
    order = losses.argsort(stable=True).tolist()
    for count in range(1, 5):
        gone = order[:count]
        one = 2 * least_loss(first[0], first[1], first[2][gone].reshape(-1).tolist())
        other = 0.25 * least_loss(second[0], second[1], second[2][gone].reshape(-1).tolist())
        together = (one**0.5 + other**0.5) ** 2
        assert float(losses[order[count - 1]]) == pytest.approx(together, rel=1e-6)


def test_a_copy_costs_nothing_and_goes_first():
    gram, weight, blocks = problem(4, 1, 3, seed=3, others=0)
    copied = torch.eye(4, dtype=torch.float64)
    copied[:, 2] = 2 * copied[:, 0]  # input 2 is twice input 0
    place = {int(block): unit for unit, block in enumerate(blocks[:, 0])}
    gram = copied.t() @ gram @ copied
    losses = removal_losses([Correlated(gram, weight, blocks, 1.0)], 4)
    pair = sorted((float(losses[place[0]]), float(losses[place[2]])))
    assert pair[0] == losses.min()
    assert pair[0] < 1e-3 * float(losses.max())
    assert pair[1] > 100 * pair[0]


def test_uncorrelated_units_lose_their_own_energy():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(50, 3, 2, generator=generator).double()
    weight = torch.randn(3, 2, 4, generator=generator).double()
    grams = torch.einsum("nuk,nul->ukl", rows, rows)
    losses = removal_losses([Uncorrelated(grams, weight, 0.1)], 3)
    own = 0.1 * torch.einsum("nuk,uko->nuo", rows, weight).square().sum(dim=(0, 2))
    torch.testing.assert_close(losses, own.sort().values.cumsum(0)[own.argsort().argsort()])


def test_dead_inputs_cost_nothing_and_later_units_go_first():
    zero = Correlated(torch.zeros(3, 3).double(), torch.ones(3, 2).double(),
                      torch.arange(3)[:, None], 1.0)  # fmt: skip
    assert removal_losses([zero], 3).tolist() == [0.0, 0.0, 0.0]


@given(st.lists(st.floats(0, 100), min_size=1, max_size=12))
def test_slopes_are_those_of_the_largest_convex_function_below(added):
    losses = torch.tensor(list(itertools.accumulate(added)), dtype=torch.float64)
    slopes = convex_slopes(losses)
    assert bool((slopes.diff() >= -1e-9).all())
    hull = slopes.cumsum(0)
    assert bool((hull <= losses + 1e-9).all())
    # Between any two points of the losses the line lies above the hull; somewhere it touches.
    points = [0.0, *losses.tolist()]
    for place in range(1, len(points)):
        lines = [
            points[a] + (points[b] - points[a]) * (place - a) / (b - a)
            for a in range(place + 1)
            for b in range(place, len(points))
            if b > a
        ]
        assert float(hull[place - 1]) == pytest.approx(min(lines), abs=1e-7)
