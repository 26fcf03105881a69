"""Losses: their scale, Jensen's order, and what is not labelled."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from prunella import InputError
from prunella.recurrent import (
    classification_loss,
    published_localisation_loss,
    regression_loss,
)

B, T, K, O = 3, 4, 5, 2  # noqa: E741


def numbers(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_two_parts_are_on_one_scale():
    """Particles that all predict the same: both parts are the Gaussian error of one prediction."""
    mean, target = numbers(B, T, O), numbers(B, T, O, seed=1)
    same = mean.unsqueeze(2).expand(B, T, K, O)
    loss = regression_loss(mean, same, target, sigma=0.3, beta=0.7)
    density = torch.distributions.Normal(mean, 0.3).log_prob(target)
    constant = -O * math.log(0.3 * math.sqrt(2 * math.pi))
    expected = -(density.sum(-1) - constant).mean()
    torch.testing.assert_close(loss.prediction, expected)
    torch.testing.assert_close(loss.elbo, expected)
    torch.testing.assert_close(loss.total, 1.7 * expected)


def test_the_scale_does_not_depend_on_batch_or_length():
    mean, particles, target = numbers(B, T, O), numbers(B, T, K, O), numbers(B, T, O, seed=1)
    once = regression_loss(mean, particles, target)
    twice = regression_loss(*(torch.cat((x, x)) for x in (mean, particles, target)))
    longer = regression_loss(*(torch.cat((x, x), 1) for x in (mean, particles, target)))
    torch.testing.assert_close(once.total, twice.total)
    torch.testing.assert_close(once.total, longer.total)


def test_regression_elbo_by_its_meaning():
    particles, target = numbers(B, T, K, O), numbers(B, T, O, seed=1)
    errors = ((particles - target.unsqueeze(2)) / 0.5).square().sum(-1) / 2
    loss = regression_loss(target, particles, target, sigma=0.5)
    torch.testing.assert_close(loss.elbo, -(-errors).exp().mean(-1).log().mean())
    assert loss.prediction == 0
    assert loss.elbo < errors.mean()  # Jensen
    weights = numbers(B, T, K, seed=2).log_softmax(-1)
    weighted = regression_loss(target, particles, target, sigma=0.5, log_weights=weights).elbo
    torch.testing.assert_close(weighted, -((-errors).exp() * weights.exp()).sum(-1).log().mean())


def test_sigma_of_each_output():
    mean, particles, target = numbers(B, T, O), numbers(B, T, K, O), numbers(B, T, O, seed=1)
    sigma = torch.tensor([0.5, 2.0], dtype=torch.float64)
    loss = regression_loss(mean, particles, target, sigma=sigma)
    scaled = regression_loss(mean / sigma, particles / sigma, target / sigma)
    torch.testing.assert_close(loss.total, scaled.total)


def test_a_small_sigma_rewards_particles_that_differ():
    """Two modes: one particle on each beats two particles between them, if sigma is small."""
    target = torch.tensor([[[1.0]]])
    apart = torch.tensor([[[[1.0], [-1.0]]]])
    between = torch.zeros(1, 1, 2, 1)
    mean = torch.zeros(1, 1, 1)

    def elbo(particles, sigma):
        return regression_loss(mean, particles, target, sigma=sigma).elbo

    assert elbo(apart, 0.3) < elbo(between, 0.3)
    assert elbo(apart, 3.0) > elbo(between, 3.0)


def test_classification_by_its_meaning():
    mean, particles = numbers(B, T, 3), numbers(B, T, K, 3)
    labels = torch.randint(3, (B, T), generator=torch.Generator().manual_seed(0))
    loss = classification_loss(mean, particles, labels, beta=2.0)
    of_label = particles.softmax(-1)[
        torch.arange(B)[:, None, None], torch.arange(T)[:, None], torch.arange(K), labels[..., None]
    ]
    torch.testing.assert_close(
        loss.prediction, F.cross_entropy(mean.flatten(0, 1), labels.flatten())
    )
    torch.testing.assert_close(loss.elbo, -of_label.mean(-1).log().mean())
    torch.testing.assert_close(loss.total, loss.prediction + 2 * loss.elbo)
    assert loss.elbo >= 0
    one = classification_loss(mean, mean.unsqueeze(2), labels)
    torch.testing.assert_close(one.elbo, one.prediction)


def test_labels_at_the_last_step_only():
    mean, particles = numbers(B, T, 3), numbers(B, T, K, 3)
    labels = torch.tensor([0, 2, 1])
    everywhere = torch.full((B, T), -100)
    everywhere[:, -1] = labels
    mask = everywhere >= 0
    masked = classification_loss(mean, particles, everywhere, mask=mask)
    last = classification_loss(mean[:, -1], particles[:, -1], labels)
    torch.testing.assert_close(masked.total, last.total)


def test_unlabelled_steps_may_hold_anything():
    mask = torch.arange(B * T).view(B, T) % 3 != 0
    mean = numbers(B, T, O).where(mask[..., None], math.nan).requires_grad_()
    particles = numbers(B, T, K, O).where(mask[..., None, None], math.nan).requires_grad_()
    target = numbers(B, T, O, seed=1).where(mask[..., None], math.inf)
    loss = regression_loss(mean, particles, target, mask=mask)
    loss.total.backward()
    assert loss.total.isfinite()
    assert mean.grad.isfinite().all()
    assert (mean.grad[~mask] == 0).all()
    assert (particles.grad[~mask] == 0).all()
    assert (particles.grad[mask] != 0).any()


def test_time_weights_stand_outside_of_the_logarithm():
    mean, particles, target = numbers(B, T, O), numbers(B, T, K, O), numbers(B, T, O, seed=1)
    weights = torch.tensor([0.0, 1.0, 2.0, 5.0])
    loss = regression_loss(mean, particles, target, time_weights=weights)
    steps = [
        regression_loss(mean[:, t], particles[:, t], target[:, t]).elbo * weights[t] / 8
        for t in range(T)
    ]
    torch.testing.assert_close(loss.elbo, sum(steps))


def test_the_published_form():
    """Restated with loops, from its description: sums there, means here, decay inside."""
    mean, particles, target = (x.sigmoid() for x in
        (numbers(B, T, 3), numbers(B, T, K, 3), numbers(B, T, 3, seed=1)))  # fmt: skip
    raw = [math.exp(0.1 * t) for t in range(T)]
    prediction, elbo = 0.0, 0.0
    for t in range(T):
        share = raw[t] / sum(raw)
        for b in range(B):
            for j in range(3):
                importance = 1.0 if j < 2 else 0.1
                error = float((mean[b, t, j] - target[b, t, j]) ** 2)
                prediction += importance * share * error
                likelihood = sum(
                    math.exp(-share * float((particles[b, t, k, j] - target[b, t, j]) ** 2))
                    for k in range(K)
                ) / K  # fmt: skip
                elbo += importance * -math.log(likelihood) / (B * T * (2 if j < 2 else 1))
    loss = published_localisation_loss(mean, particles, target, beta=3.0)
    assert loss.prediction.item() == pytest.approx(prediction)
    assert loss.elbo.item() == pytest.approx(elbo)
    assert loss.total.item() == pytest.approx(prediction + 3 * elbo)


def test_published_scales_differ_by_twice_batch_times_steps():
    """Equal small errors everywhere in x and y: sum against mean."""
    target = torch.zeros(B, T, 3, dtype=torch.float64)
    mean = torch.full((B, T, 3), 1e-3, dtype=torch.float64)
    mean[..., 2] = 0
    loss = published_localisation_loss(mean, mean.unsqueeze(2).expand(B, T, K, 3), target)
    assert (loss.prediction / loss.elbo).item() == pytest.approx(2 * B * T, rel=1e-5)


def test_the_published_form_with_absolute_errors():
    mean, target = numbers(B, T, 3).sigmoid(), numbers(B, T, 3, seed=1).sigmoid()
    one = mean.unsqueeze(2)
    loss = published_localisation_loss(mean, one, target, l2_weight=0.0, l1_weight=0.5)
    torch.testing.assert_close(loss.prediction, loss.elbo)  # both are means in this twin
    decays = torch.softmax(0.1 * torch.arange(T, dtype=torch.float64), 0)[:, None]
    errors = (mean - target).abs() * decays
    expected = 0.5 * (10 * errors[..., :2].mean() + 0.1 * errors[..., 2].mean())
    torch.testing.assert_close(loss.prediction, expected)


def test_gradients_of_the_losses():
    mean, particles, target = numbers(2, 2, O), numbers(2, 2, K, O), numbers(2, 2, O, seed=1)
    weights = numbers(2, 2, K, seed=3)

    def both(mean, particles, weights):
        regression = regression_loss(
            mean, particles, target, sigma=0.8, log_weights=weights.log_softmax(-1)
        )
        labels = torch.tensor([[0, 1], [1, 0]])
        return regression.total, classification_loss(mean, particles, labels).total

    inputs = tuple(x.requires_grad_() for x in (mean, particles, weights))
    assert torch.autograd.gradcheck(both, inputs)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"targets": torch.zeros(B, T, 3)}, r"mean predictions have shape .* and targets"),
        ({"sigma": 0.0}, r"sigma is 0.0; expected numbers greater than 0"),
        ({"beta": float("nan")}, "beta is nan; expected a finite number of at least 0"),
        ({"mask": torch.zeros(B, T, dtype=torch.bool)}, "no labelled step counts"),
        ({"mask": torch.ones(B, T)}, r"mask has shape .* expected truth values"),
        ({"time_weights": torch.tensor([1.0, -1.0, 1.0, 1.0])}, "time weights are negative"),
        ({"time_weights": torch.ones(7, B, T)}, "of another shape"),
        ({"log_weights": torch.zeros(B, T)}, r"log_weights have shape \(3, 4\)"),
    ],
)
def test_mistakes(change, words):
    arguments = {
        "mean_prediction": torch.zeros(B, T, O),
        "particle_predictions": torch.zeros(B, T, K, O),
        "targets": torch.zeros(B, T, O),
    }
    with pytest.raises(InputError, match=words):
        regression_loss(**(arguments | change))


def test_a_label_that_is_no_class():
    with pytest.raises(InputError, match=r"labels lie between 0 and 3; expected 0 to 2"):
        classification_loss(torch.zeros(2, 3), torch.zeros(2, K, 3), torch.tensor([0, 3]))


def test_published_form_needs_positions_and_headings():
    with pytest.raises(InputError, match=r"targets have shape .*; expected \(B, T, 3\)"):
        published_localisation_loss(torch.zeros(B, T, 2), torch.zeros(B, T, K, 2),
                                    torch.zeros(B, T, 2))  # fmt: skip
