"""Certificates over repeated draws from a population whose truth is known."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from prunella.certificate import bounds_from_outcomes, certify
from prunella.certificate.losses import loss_bound
from prunella.certificate.outcomes import class_bounds

DRAWS = 1000


def wrong_too_often(wrong: NDArray[np.bool_], delta: float) -> bool:
    limit = wrong.size * delta + 3 * math.sqrt(wrong.size * delta * (1 - delta))
    return bool(wrong.sum() > limit)


@dataclass(frozen=True)
class World:
    """Every sample there is: features, labels, and two linear networks that see them."""

    original: nn.Linear
    small: nn.Linear
    inputs: torch.Tensor  # (N, 12)
    labels: NDArray[np.int64]
    top: NDArray[np.int64]
    top_small: NDArray[np.int64]
    errors: NDArray[np.float64]

    @property
    def disagreement(self) -> float:
        return float(np.mean(self.top != self.top_small))

    @property
    def drop(self) -> float:
        return float(np.mean(self.top == self.labels) - np.mean(self.top_small == self.labels))


@pytest.fixture(scope="module")
def world() -> World:
    generator = torch.Generator().manual_seed(7)
    inputs = torch.randn(40_000, 12, generator=generator)
    original, small = nn.Linear(12, 4), nn.Linear(12, 4)
    with torch.no_grad():
        original.weight.copy_(torch.randn(4, 12, generator=generator))
        original.bias.zero_()
        small.bias.zero_()
        # the weakest feature is gone and the others are slightly off
        weights = original.weight + 0.05 * torch.randn(4, 12, generator=generator)
        weights[:, original.weight.norm(dim=0).argmin()] = 0
        small.weight.copy_(weights)
        outputs, outputs_small = original(inputs).double(), small(inputs).double()
    noise = torch.rand(len(inputs), generator=generator) < 0.1
    labels = torch.where(
        noise, torch.randint(4, noise.shape, generator=generator), outputs.argmax(1)
    )
    return World(
        original=original,
        small=small,
        inputs=inputs,
        labels=labels.numpy(),
        top=outputs.argmax(1).numpy(),
        top_small=outputs_small.argmax(1).numpy(),
        errors=((outputs_small - outputs).norm(dim=1) / outputs.norm(dim=1)).numpy(),
    )


@pytest.mark.parametrize(("n", "alpha", "delta"), [(150, 0.05, 0.1), (1000, 0.05, 0.01)])
def test_each_bound_holds_as_often_as_it_says(
    world: World, n: int, alpha: float, delta: float
) -> None:
    assert 0.02 < world.disagreement < 0.3
    assert world.drop > 0.01
    rng = np.random.default_rng(n)
    found = []
    for _ in range(DRAWS):
        at = rng.integers(len(world.labels), size=n)
        found.append(
            bounds_from_outcomes(
                world.top[at],
                world.top_small[at],
                world.labels[at],
                world.errors[at],
                alpha=alpha,
                delta=delta,
            )
        )
    disagreement = np.array([bounds.disagreement_upper for bounds in found])
    drop = np.array([bounds.accuracy_drop_upper for bounds in found])
    limit = np.array([bounds.logit_error_bound for bounds in found])
    ordered = np.sort(world.errors)
    above = 1 - np.searchsorted(ordered, limit, side="right") / len(ordered)
    assert not wrong_too_often(disagreement < world.disagreement, delta)
    assert not wrong_too_often(drop < world.drop, delta)
    assert not wrong_too_often(above > alpha, delta)
    # and each is worth having
    quantile = ordered[math.ceil((1 - alpha) * len(ordered))]
    if n == 1000:
        assert disagreement.mean() < 1.5 * world.disagreement
        assert drop.mean() < 2 * world.drop
        assert limit.mean() < 1.5 * quantile


def test_the_estimates_themselves_would_not_do(world: World) -> None:
    """The check can fail: observed values taken for bounds are wrong about half of the time."""
    rng = np.random.default_rng(1)
    at = rng.integers(len(world.labels), size=(DRAWS, 300))
    assert wrong_too_often((world.top != world.top_small)[at].mean(1) < world.disagreement, 0.1)


def test_certify_gives_the_bounds_of_its_outcomes(world: World) -> None:
    at = np.random.default_rng(3).choice(len(world.labels), size=600, replace=False)
    inputs, labels = world.inputs[at], torch.as_tensor(world.labels[at])
    loader = [(inputs[i : i + 128], labels[i : i + 128]) for i in range(0, 600, 128)]
    certificate = certify(world.original, world.small, loader, alpha=0.05, delta=0.01)
    bounds = bounds_from_outcomes(
        world.top[at],
        world.top_small[at],
        world.labels[at],
        world.errors[at],
        alpha=0.05,
        delta=0.01,
    )
    assert certificate.disagreement_upper == bounds.disagreement_upper
    assert certificate.accuracy_drop_upper == bounds.accuracy_drop_upper
    assert certificate.logit_error_bound == pytest.approx(bounds.logit_error_bound, rel=1e-5)


@pytest.mark.parametrize("n", [60, 600])
def test_the_bounds_of_all_classes_hold_together(world: World, n: int) -> None:
    """With few samples which classes are named changes from draw to draw."""
    delta = 0.1
    truth = [float(np.mean(world.top_small[world.top == c] != c)) for c in range(4)]
    rng = np.random.default_rng(n)
    wrong, alone, named = [], [], set()
    for _ in range(DRAWS):
        at = rng.integers(len(world.labels), size=n)
        found = class_bounds(world.top[at], world.top_small[at], delta)
        wrong.append(any(bound.disagreement_upper < truth[bound.index] for bound in found))
        named.add(len(found))
        # each at the whole of delta, as if the others were not there
        single = class_bounds(world.top[at], world.top_small[at], 4 * delta)
        alone.append(any(bound.disagreement_upper < truth[bound.index] for bound in single))
    assert not wrong_too_often(np.array(wrong), delta)
    if n == 600:
        assert named == {4}
        assert wrong_too_often(np.array(alone), delta)


@pytest.mark.parametrize("n", [50, 500])
def test_bounds_of_a_loss_hold_in_an_order_that_does_not_depend_on_it(world: World, n: int) -> None:
    delta = 0.1
    before = (world.top != world.labels) * 0.7 + 0.2 * (world.top == 0)
    after = (world.top_small != world.labels) * 0.7 + 0.2 * (world.top_small == 0)
    rng = np.random.default_rng(n)
    wrong, sorted_wrong = [], []
    for _ in range(DRAWS):
        at = rng.integers(len(world.labels), size=n)
        found = loss_bound("cost", before[at], after[at], delta)
        wrong.append(
            (
                found.mean_upper < after.mean(),
                found.increase_upper < (after - before).mean(),
            )
        )
        at = at[np.argsort(after[at], kind="stable")]
        sorted_wrong.append(loss_bound("cost", before[at], after[at], delta).mean_upper)
    for each in np.array(wrong).T:
        assert not wrong_too_often(each, delta)
    # the order matters: a loader sorted by the loss itself would break the bound
    assert wrong_too_often(np.array(sorted_wrong) < after.mean(), delta)


def test_a_loader_sorted_by_the_loss_does_not_break_the_certificate(world: World) -> None:
    """Samples are taken in the order of their fingerprints, whatever the loader does."""

    def miss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return (logits.argmax(1) != labels).double()

    rng = np.random.default_rng(8)
    truth = float(np.mean(world.top_small != world.labels))
    found = []
    for _ in range(300):
        at = rng.choice(len(world.labels), size=200, replace=False)
        at = at[np.argsort(world.top_small[at] != world.labels[at], kind="stable")]
        loader = [(world.inputs[at], torch.as_tensor(world.labels[at]))]
        certificate = certify(world.original, world.small, loader, delta=0.1, losses={"miss": miss})
        found.append(certificate.losses[0].mean_upper)
    assert not wrong_too_often(np.array(found) < truth, 0.1)
    assert np.mean(found) < 1.5 * truth
