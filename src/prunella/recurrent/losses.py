"""Losses of a belief: the error of its mean, and how likely its particles find the labels.

With a head f, mean prediction f(mean of the particles) and particle predictions f(particle):

    total = prediction + beta * elbo

Both terms are negative log-likelihoods in nats, without the constants of the Gaussian, averaged
over labelled steps in the same way. So they are on one scale for any batch size and length: where
all particles predict the same, the two are equal. (In the public code the first is a sum over the
batch and the second a mean over batch and time, see `published_localisation_loss`.)

The ELBO with equal weights gives no gradient to the observation score, because weights never enter
the transition; the prediction does, and so does the weighted variant.

Source: Ma, Karkus, Hsu and Lee, "Particle filter recurrent neural networks", AAAI 2020, loss and
ELBO; scaling and weighted variant are ours, docs/theory/particle-filter-rnn.md, section 4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from prunella.core.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class BeliefLoss:
    """A loss and its two parts, each without dimensions; differentiate `total`."""

    total: Tensor  # ()
    prediction: Tensor  # ()
    elbo: Tensor  # ()


def regression_loss(
    mean_prediction: Tensor,  # (*, O)
    particle_predictions: Tensor,  # (*, K, O)
    targets: Tensor,  # (*, O)
    *,
    sigma: float | Tensor = 1.0,  # in the units of the targets, () or (O,)
    beta: float = 1.0,
    mask: Tensor | None = None,  # (*,)
    time_weights: Tensor | None = None,  # broadcast with (*,)
    log_weights: Tensor | None = None,  # (*, K)
) -> BeliefLoss:
    """Gaussian negative log-likelihood of the mean prediction and of the particles.

    With e(y) = sum over outputs of ((y - target) / sigma)^2 / 2:

        prediction = e(mean prediction),  elbo = -log mean_k exp(-e(particle k)).

    Args:
        mean_prediction: Head of the mean of the particles; * is (B, T), or (B,) for one step.
        particle_predictions: Head of each particle.
        targets: Labels; what stands at unlabelled steps is not looked at.
        sigma: Standard deviation of a label around a particle's prediction, in the units of the
            targets, greater than 0; a constant, not learned. A small one lets particles stand for
            different explanations, a large one makes the ELBO the mean error of the particles.
        beta: Weight of the ELBO.
        mask: True where there is a label; None means everywhere.
        time_weights: How much each step counts, at least 0, for example (T,) for labels (B, T).
        log_weights: Normalised log-weights for the weighted ELBO; None counts particles alike.

    Raises:
        InputError: shapes differ, sigma, beta or a weight is out of range, or no step counts.
    """
    _check_shapes(mean_prediction, particle_predictions, targets.shape, log_weights)
    spread = torch.as_tensor(sigma, dtype=mean_prediction.dtype, device=mean_prediction.device)
    if not bool((spread > 0).all()):
        raise InputError(f"sigma is {sigma!r}; expected numbers greater than 0.")
    shares = _shares(targets.shape[:-1], mask, time_weights, targets.device)
    known = (shares > 0).unsqueeze(-1)
    targets = targets.where(known, 0)
    # A masked error would still pull NaN through the gradient if it was only multiplied by 0.
    of_mean = ((mean_prediction.where(known, 0) - targets) / spread).square().sum(-1) / 2
    particles = particle_predictions.where(known.unsqueeze(-1), 0)
    of_particles = ((particles - targets.unsqueeze(-2)) / spread).square().sum(-1) / 2
    elbo = -_log_mean(-of_particles, log_weights)
    return _combined(of_mean, elbo, shares, beta)


def classification_loss(
    mean_logits: Tensor,  # (*, C)
    particle_logits: Tensor,  # (*, K, C)
    labels: Tensor,  # (*,), whole numbers
    *,
    beta: float = 1.0,
    mask: Tensor | None = None,  # (*,)
    time_weights: Tensor | None = None,  # broadcast with (*,)
    log_weights: Tensor | None = None,  # (*, K)
) -> BeliefLoss:
    """Cross-entropy of the mean's logits, and of the mean of the particles' probabilities.

        prediction = -log softmax(mean logits)[label],
        elbo = -log mean_k softmax(particle k's logits)[label].

    Args:
        mean_logits: Head of the mean of the particles; * is (B, T), or (B,) for one step.
        particle_logits: Head of each particle.
        labels: Numbers of classes, from 0; what stands at unlabelled steps is not looked at.
        beta: Weight of the ELBO.
        mask: True where there is a label; None means everywhere.
        time_weights: How much each step counts, at least 0.
        log_weights: Normalised log-weights for the weighted ELBO; None counts particles alike.

    Raises:
        InputError: shapes differ, a label, beta or a weight is out of range, or no step counts.
    """
    classes = mean_logits.shape[-1]
    _check_shapes(mean_logits, particle_logits, (*labels.shape, classes), log_weights)
    shares = _shares(labels.shape, mask, time_weights, labels.device)
    known = shares > 0
    if labels.is_floating_point():
        raise InputError(f"labels have type {labels.dtype}; expected classes, whole numbers.")
    seen = labels.where(known, 0).long()
    if bool(((seen < 0) | (seen >= classes)).any()):
        raise InputError(
            f"labels lie between {int(seen.min())} and {int(seen.max())}; expected 0 to "
            f"{classes - 1} for {classes} classes. Leave unlabelled steps out with `mask`."
        )
    deep = known.unsqueeze(-1)
    of_mean = -mean_logits.where(deep, 0).log_softmax(-1).gather(-1, seen.unsqueeze(-1)).squeeze(-1)
    particles = particle_logits.where(deep.unsqueeze(-1), 0).log_softmax(-1)
    choice = seen[..., None, None].expand(*particles.shape[:-1], 1)
    elbo = -_log_mean(particles.gather(-1, choice).squeeze(-1), log_weights)
    return _combined(of_mean, elbo, shares, beta)


def published_localisation_loss(
    mean_prediction: Tensor,  # (B, T, 3), in [0, 1]
    particle_predictions: Tensor,  # (B, T, K, 3), in [0, 1]
    targets: Tensor,  # (B, T, 3): x and y by the map's size, heading by 2 pi
    *,
    decay: float = 0.1,
    heading_weight: float = 0.1,
    l2_weight: float = 1.0,
    l1_weight: float = 0.0,
    beta: float = 1.0,
) -> BeliefLoss:
    """The loss that the public code trains its maze localiser with, for comparison with it.

    Steps count d_t = exp(decay t) / sum over steps. Squared errors of the mean are summed over
    batch, steps and coordinates; the ELBO, -log mean_k exp(-d_t e), is taken of each coordinate by
    itself and averaged, which makes it some 2 B T times the smaller for equal errors. As d_t e
    is far below 1 it is nearly the mean error. For training use `regression_loss`.

    Source: github.com/Yusufma03/pfrnns, commit 0a76d52, `Localizer.step`; restated.

    Args:
        mean_prediction: Head of the mean of the particles.
        particle_predictions: Head of each particle.
        targets: Labels of every step.
        decay: Growth of the time weights for each step.
        heading_weight: Weight of the heading against the position.
        l2_weight: Weight of squared errors.
        l1_weight: Weight of absolute errors.
        beta: Weight of the ELBO.

    Raises:
        InputError: shapes differ, or the outputs are not 3.
    """
    _check_shapes(mean_prediction, particle_predictions, targets.shape, None)
    if targets.ndim != 3 or targets.shape[-1] != 3:
        raise InputError(f"targets have shape {tuple(targets.shape)}; expected (B, T, 3).")
    steps = torch.arange(targets.shape[1], dtype=targets.dtype, device=targets.device)
    decays = torch.softmax(decay * steps, 0).unsqueeze(1)
    of_mean = mean_prediction - targets
    of_particles = particle_predictions - targets.unsqueeze(-2)
    squares, sizes = of_mean.square() * decays, of_mean.abs() * decays
    prediction = l2_weight * (squares[..., :2].sum() + heading_weight * squares[..., 2].sum())
    prediction = prediction + l1_weight * (
        10 * sizes[..., :2].mean() + heading_weight * sizes[..., 2].mean()
    )

    def bound(errors: Tensor, position: float) -> Tensor:  # (B, T, K, 3)
        each = -_log_mean((-errors * decays.unsqueeze(-1)).transpose(-1, -2), None)
        return position * each[..., :2].mean() + heading_weight * each[..., 2].mean()

    elbo = l2_weight * bound(of_particles.square(), 1.0)
    elbo = elbo + l1_weight * bound(of_particles.abs(), 10.0)
    return BeliefLoss(total=prediction + beta * elbo, prediction=prediction, elbo=elbo)


def _log_mean(
    logs: Tensor,  # (*, K)
    log_weights: Tensor | None,  # (*, K)
) -> Tensor:  # (*,)
    """Logarithm of the (weighted) mean of exp(logs)."""
    if log_weights is None:
        return logs.logsumexp(-1) - math.log(logs.shape[-1])
    return (logs + log_weights).logsumexp(-1)


def _combined(of_mean: Tensor, elbo: Tensor, shares: Tensor, beta: float) -> BeliefLoss:
    if not 0 <= beta < math.inf:
        raise InputError(f"beta is {beta!r}; expected a finite number of at least 0.")
    prediction, bound = (of_mean * shares).sum(), (elbo * shares).sum()
    return BeliefLoss(total=prediction + beta * bound, prediction=prediction, elbo=bound)


def _shares(
    shape: tuple[int, ...],
    mask: Tensor | None,  # (*,)
    time_weights: Tensor | None,
    device: torch.device,
) -> Tensor:  # (*,), sums to 1
    """How much each step counts in the mean over labelled steps."""
    shares = torch.ones(shape, device=device)
    if time_weights is not None:
        shares = shares * time_weights.detach().to(device)
    if mask is not None:
        if mask.shape != shape or mask.dtype != torch.bool:
            raise InputError(
                f"mask has shape {tuple(mask.shape)} and type {mask.dtype}; expected truth values "
                f"of shape {tuple(shape)}, one for each step."
            )
        shares = shares.where(mask, 0)
    total = shares.sum()
    if shares.shape != shape or not bool((shares >= 0).all()) or not 0 < float(total) < math.inf:
        raise InputError(
            "no labelled step counts, or time weights are negative, not finite or of another "
            f"shape; expected weights of at least 0 that broadcast to {tuple(shape)}, and one step "
            "with a label and a weight above 0."
        )
    return shares / total


def _check_shapes(
    mean: Tensor, particles: Tensor, target: tuple[int, ...], log_weights: Tensor | None
) -> None:
    given = (tuple(mean.shape), tuple(particles.shape), tuple(target))
    fits = given[0] == given[2] and particles.ndim == mean.ndim + 1
    if not fits or (*given[1][:-2], given[1][-1]) != given[2]:
        raise InputError(
            f"mean predictions have shape {given[0]}, particle predictions {given[1]} and targets "
            f"{given[2]}; expected (*, O), (*, K, O) and (*, O)."
        )
    if log_weights is not None and log_weights.shape != particles.shape[:-1]:
        raise InputError(
            f"log_weights have shape {tuple(log_weights.shape)}; expected {given[1][:-1]}."
        )
