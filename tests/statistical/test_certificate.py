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
