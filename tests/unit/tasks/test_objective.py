"""Objectives of sequences: the loss by its definition, figures in units, masks, growth."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from prunella.core.batches import read_batch
from prunella.core.errors import DataError, InputError
from prunella.tasks import Predictions, Regression, SequenceClassification


class Says(nn.Module):
    """Returns what it is told."""

    def __init__(self, *predictions):
        super().__init__()
        self.predictions = Predictions(*predictions)

    def forward(self, x, lengths=None):
        return self.predictions


def batch(targets, lengths=None, steps=5):
    x = torch.zeros(len(targets), steps, 3)
    return read_batch(((x, lengths) if lengths is not None else x, targets))


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def regression(**changes):
    values = {
        "scale": (10.0, 10.0, 2.0), "sigma": (0.1, 0.2, 0.5), "judged": 2, "growth": 0.3,
        "beta": 0.7,
    }  # fmt: skip
    return Regression(**{**values, **changes})


def test_loss_is_prediction_and_elbo_with_growing_steps():
    mean, particles, targets = (
        numbers(4, 5, 3),
        numbers(4, 5, 6, 3, seed=1),
        numbers(4, 5, 3, seed=2),
    )
    found = regression()(Says(mean, particles, numbers(4, 5, 6)), batch(targets))
    sigma = torch.tensor((0.1, 0.2, 0.5))
    shares = [math.exp(0.3 * t) for t in range(5)]
    total = 0.0
    for b in range(4):
        for t in range(5):
            error = 0.5 * float((((mean - targets)[b, t] / sigma) ** 2).sum())
            each = [
                0.5 * ((particles[b, t, k] - targets[b, t]) / sigma).square().sum()
                for k in range(6)
            ]
            elbo = -float(torch.logsumexp(-torch.stack(each), 0)) + math.log(6)
            total += shares[t] / sum(shares) / 4 * (error + 0.7 * elbo)
    assert float(found.loss) == pytest.approx(total, rel=1e-5)


def test_a_network_without_particles_has_the_loss_of_the_mean_alone():
    mean, targets = numbers(4, 5, 3), numbers(4, 5, 3, seed=2)
    found = regression(growth=0.0)(Says(mean), batch(targets))
    expected = 0.5 * ((mean - targets) / torch.tensor((0.1, 0.2, 0.5))).square().sum(-1).mean()
    assert float(found.loss) == pytest.approx(float(expected), rel=1e-6)


def test_figures_are_in_units_and_of_the_judged_outputs():
    mean, targets = torch.zeros(2, 3, 3), torch.zeros(2, 3, 3)
    mean[0, 2] = torch.tensor([0.1, 0.3, 5.0])  # 1 and 3 cells off; the heading is not judged
    mean[1, 0] = torch.tensor([0.2, 0.0, 0.0])
    figures = regression()(Says(mean), batch(targets)).figures
    assert figures["loss_last"] == (pytest.approx((1 + 9) / 2), 2)
    assert figures["mse"] == (pytest.approx((1 + 9) / 2 + 4 / 2), 6)


def test_steps_beyond_a_sequences_length_do_not_count():
    lengths = torch.tensor([2, 3])
    mean, targets = numbers(2, 3, 3), numbers(2, 3, 3, seed=2)
    objective, answers = regression(), []
    for padding in (0.0, 1e4):
        mean[0, 2] = padding
        answers.append(objective(Says(mean), batch(targets, lengths, steps=3)))
    assert float(answers[0].loss) == float(answers[1].loss)
    assert answers[0].figures == answers[1].figures
    squares = (100 * (mean - targets)[..., :2].double() ** 2).mean(-1)
    assert answers[0].figures["mse"][1] == 5
    last = float(squares[0, 1] + squares[1, 2])
    assert answers[0].figures["loss_last"] == (pytest.approx(last), 2)


def test_one_target_for_each_sequence():
    mean, targets = numbers(4, 1, 3), numbers(4, 3, seed=2)
    found = regression(growth=0.1)(Says(mean), batch(targets))
    expected = (
        0.5 * ((mean[:, 0] - targets) / torch.tensor((0.1, 0.2, 0.5))).square().sum(-1).mean()
    )
    assert float(found.loss) == pytest.approx(float(expected), rel=1e-6)
    assert list(found.figures) == ["mse"]


def test_first_steps_of_a_long_sequence_count_as_labels():
    """exp(-0.1 * 20,000) is 0, and a step of weight 0 would have none."""
    mean, targets = numbers(1, 20_000, 3), numbers(1, 20_000, 3, seed=2)
    found = regression(growth=0.1)(Says(mean), batch(targets, steps=20_000))
    assert bool(torch.isfinite(found.loss))


def test_classification():
    logits, particles, labels = numbers(4, 1, 3), numbers(4, 1, 6, 3, seed=1), torch.arange(4) % 3
    found = SequenceClassification(beta=0.7)(
        Says(logits, particles, numbers(4, 1, 6)), batch(labels)
    )
    plain = nn.functional.cross_entropy(logits[:, 0], labels)
    chosen = particles[:, 0].softmax(-1)[torch.arange(4), :, labels]
    elbo = -chosen.mean(-1).log().mean()
    assert float(found.loss) == pytest.approx(float(plain + 0.7 * elbo), rel=1e-5)
    right = int((logits[:, 0].argmax(-1) == labels).sum())
    assert found.figures == {"accuracy": (float(right), 4)}
    alone = SequenceClassification(beta=0.7)(Says(logits), batch(labels))
    assert float(alone.loss) == pytest.approx(float(plain), rel=1e-6)


def test_sequences_of_one_step_have_a_last_one():
    mean, targets = numbers(4, 1, 3), numbers(4, 1, 3, seed=2)
    found = regression()(Says(mean), batch(targets, steps=1))
    assert found.figures["loss_last"] == found.figures["mse"]


def test_gradients_reach_mean_and_particles():
    mean, particles = numbers(2, 5, 3).requires_grad_(), numbers(2, 5, 6, 3).requires_grad_()
    targets = numbers(2, 5, 3, seed=2)
    regression()(Says(mean, particles, numbers(2, 5, 6)), batch(targets)).loss.backward()
    assert bool(mean.grad.any())
    assert bool(particles.grad.any())


def test_mistakes_are_named():
    mean = numbers(4, 5, 3)
    message = r"labels have shape \(4, 1, 3\) but predictions \(4, 5, 3\); expected one row"
    with pytest.raises(DataError, match=message):
        regression()(Says(mean), batch(numbers(4, 3)))
    with pytest.raises(DataError, match="training needs labels"):
        regression()(Says(mean), read_batch(torch.zeros(4, 5, 3)))
    message = r"labels are torch.float32 of shape \(4, 3\); expected one class for each of 4"
    with pytest.raises(DataError, match=message):
        SequenceClassification(beta=0)(Says(mean[:, :1]), batch(numbers(4, 3)))
    with pytest.raises(InputError, match="predicts at 5 steps; expected one prediction for each"):
        SequenceClassification(beta=0)(Says(mean), batch(torch.zeros(4, dtype=torch.long)))
    with pytest.raises(InputError, match=r"the network returns Tensor; expected prunella\.tasks"):
        regression()(nn.Identity(), batch(numbers(4, 3)))
