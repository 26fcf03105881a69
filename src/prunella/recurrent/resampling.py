"""Reweighting and soft resampling in log space, on tensors that carry gradients.

Weights w, proposal q(k) = alpha w_k + (1 - alpha) / K. Ancestors a_1..a_K are drawn from q; child j
is a copy of particle a_j with weight proportional to w_{a_j} / q(a_j). The equations are those of
importance sampling in `prunella.sampling` (docs/decisions/0020-two-samplers.md says why the code
is not the same); what they are unbiased for is in docs/theory/particle-filter-rnn.md.

Source: Ma, Karkus, Hsu and Lee, "Particle filter recurrent neural networks", AAAI 2020; Karkus, Hsu
and Lee, "Particle filter networks with application to visual localization", CoRL 2018 (soft
resampling); logarithms throughout are ours: exp(p) / q underflows for p below about -103.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from prunella.recurrent.belief import Belief

Scheme = Literal["multinomial", "systematic"]


def clamp_scores(
    scores: Tensor,  # (B, K)
) -> Tensor:  # (B, K)
    """Scores brought into [-3, 3]: min(max(s, 0), 6) - 3, flat outside of s in [0, 6]."""
    return scores.clamp(0, 6) - 3


def reweight(
    log_weights: Tensor,  # (B, K)
    scores: Tensor,  # (B, K)
) -> Tensor:  # (B, K)
    """Bayes' rule with log-likelihoods: add the scores, and make the weights sum to 1 again."""
    return torch.log_softmax(log_weights + scores, dim=-1)


def log_proposal(
    log_weights: Tensor,  # (B, K)
    alpha: float,
) -> Tensor:  # (B, K)
    """log(alpha w + (1 - alpha) / K), without leaving log space.

    Args:
        log_weights: Normalised, (B, K).
        alpha: In [0, 1]. 1 is ordinary resampling, 0 draws all particles alike.
    """
    if alpha == 1:
        return log_weights
    uniform = torch.full_like(log_weights, math.log1p(-alpha) - math.log(log_weights.shape[-1]))
    if alpha == 0:
        return uniform
    return torch.logaddexp(log_weights + math.log(alpha), uniform)


def spread_points(
    uniforms: Tensor,  # (B, K) for multinomial, (B, 1) for systematic
    count: int,
    scheme: Scheme,
) -> Tensor:  # (B, K)
    """Points in [0, 1) at which the distribution function of the proposal is inverted.

    Multinomial resampling takes K independent points, systematic resampling the points
    (u + i) / K of one u (`prunella.sampling.draw_systematic` counts the same points).
    """
    if scheme == "multinomial":
        return uniforms
    points = (uniforms + torch.arange(count, device=uniforms.device)) / count
    # Rounding can give 1, which no interval of the distribution function holds.
    return points.clamp(max=1 - torch.finfo(points.dtype).eps / 2)


def draw_ancestors(
    log_proposal: Tensor,  # (B, K)
    points: Tensor,  # (B, J), in [0, 1)
) -> Tensor:  # (B, J)
    """Ancestor of each point: the particle in whose interval of the cumulated proposal it lies.

    Particles of probability 0 are never drawn. Carries no gradient.
    """
    ends = log_proposal.detach().exp().cumsum(-1)
    ends = ends / ends[..., -1:]  # the last is 1 exactly, so that no point is lost
    found = torch.searchsorted(ends, points.to(ends.dtype).contiguous(), right=True)
    # NaN lies in no interval; it must reach the loss, where it is noticed.
    return found.clamp(max=ends.shape[-1] - 1)


def soft_log_weights(
    log_weights: Tensor,  # (B, K)
    log_proposal: Tensor,  # (B, K)
    ancestors: Tensor,  # (B, K)
) -> Tensor:  # (B, K)
    """Log-weights of the children: log w - log q of the ancestor, normalised over the children.

    The gradient goes through w and through q; the choice of ancestors has none. At alpha = 1 the
    two cancel: every weight is 1/K and the gradient is 0.
    """
    ratios = (log_weights - log_proposal).gather(-1, ancestors)
    return torch.log_softmax(ratios, dim=-1)


def take(
    states: Tensor,  # (B, K, H)
    flat_ancestors: Tensor,  # (B * K,), row b * K + k
) -> Tensor:  # (B, K, H)
    """Copies of the ancestors; gradients of all copies add up in the ancestor."""
    # Rows by index_select are faster than states[batch, ancestors], forward and backward.
    return states.flatten(0, 1).index_select(0, flat_ancestors).view_as(states)


def flatten_ancestors(
    ancestors: Tensor,  # (B, K)
) -> Tensor:  # (B * K,)
    """Row numbers b * K + a of the particles of a batch that is laid out as (B * K, H)."""
    batch, count = ancestors.shape
    first = torch.arange(0, batch * count, count, device=ancestors.device)
    return (ancestors + first.unsqueeze(1)).flatten()


def resample(
    belief: Belief,  # particles (B, K, H)
    points: Tensor,  # (B, K), in [0, 1)
    *,
    alpha: float,
    ess_below: float | None = None,
) -> tuple[Belief, Tensor]:  # ..., ancestors (B, K)
    """Soft resampling of every belief of a batch, or of those that need it.

    Args:
        belief: Particles (B, K, H) with normalised log-weights (B, K).
        points: Where the proposal's distribution function is inverted, see `spread_points`.
        alpha: Share of the weights in the proposal, in [0, 1].
        ess_below: Resample only beliefs whose effective sample size is below this number; the
            others keep their particles and weights. None resamples all.

    Returns:
        The belief of the children, and the ancestors (B, K) it was made of.
    """
    proposal = log_proposal(belief.log_weights, alpha)
    ancestors = draw_ancestors(proposal, points)
    log_weights = soft_log_weights(belief.log_weights, proposal, ancestors)
    if ess_below is not None:
        poor = (belief.effective_sample_size() < ess_below).unsqueeze(-1)
        own = torch.arange(belief.num_particles, device=ancestors.device)
        ancestors = torch.where(poor, ancestors, own)
        log_weights = torch.where(poor, log_weights, belief.log_weights)
    rows = flatten_ancestors(ancestors)
    memory = None if belief.memory is None else take(belief.memory, rows)
    children = Belief(
        particles=take(belief.particles, rows), log_weights=log_weights, memory=memory
    )
    return children, ancestors
