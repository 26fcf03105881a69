"""The filter around a cell: what one step leaves behind, and the steps of a run put together."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from prunella.recurrent.belief import Belief, Trajectory
from prunella.recurrent.resampling import Scheme, resample, reweight, spread_points
from prunella.recurrent.sequences import Steps

When = Literal["always", "ess", "never"]


@dataclass(frozen=True, slots=True)
class Step:
    """What one step leaves behind.

    Attributes:
        belief: After resampling, (B, K, H).
        filtered: (B, K) log-weights before it.
        ancestors: (B, K) which particle each is a copy of.
    """

    belief: Belief
    filtered: Tensor  # (B, K)
    ancestors: Tensor  # (B, K)


def observe(
    belief: Belief,  # (B, K, H), after the transition
    scores: Tensor,  # (B, K)
    uniforms: Callable[[int], Tensor],  # n -> (B, n) in [0, 1)
    *,
    when: When,
    scheme: Scheme,
    alpha: float,
    ess_threshold: float,
) -> Step:
    """Reweight a belief by log-likelihoods, and resample it.

    Args:
        belief: Particles with normalised log-weights.
        scores: Unnormalised log-likelihood of each particle.
        uniforms: Draws so many numbers for each belief; not called where nothing is resampled.
        when: Whether to resample always, where the effective sample size is low, or never.
        scheme: How ancestors are drawn.
        alpha: Share of the weights in the proposal.
        ess_threshold: What is low, as a share of K.
    """
    batch, count = belief.log_weights.shape
    filtered = reweight(belief.log_weights, scores)
    belief = replace(belief, log_weights=filtered)
    if when == "never":
        own = torch.arange(count, device=filtered.device).expand(batch, count)
        return Step(belief, filtered, own)
    points = spread_points(uniforms(count if scheme == "multinomial" else 1), count, scheme)
    below = ess_threshold * count if when == "ess" else None
    children, ancestors = resample(belief, points, alpha=alpha, ess_below=below)
    return Step(children, filtered, ancestors)


def trajectory_of(
    steps: Steps,
    states: Sequence[Step],  # T
    final: Belief,  # (B, K, H)
) -> Trajectory:  # (B, T, ...)
    """All steps laid out side by side; particles 0, weights 1/K where sequences have ended."""
    even, weights = -math.log(final.num_particles), final.log_weights
    found = steps.stacked([s.ancestors for s in states], -1, weights.detach().long())
    own = torch.arange(final.num_particles, device=found.device)
    return Trajectory(
        beliefs=Belief(
            particles=steps.stacked([s.belief.particles for s in states], 0.0, final.particles),
            log_weights=steps.stacked([s.belief.log_weights for s in states], even, weights),
        ),
        filtered_log_weights=steps.stacked([s.filtered for s in states], even, weights),
        ancestors=torch.where(found < 0, own, found),
    )
