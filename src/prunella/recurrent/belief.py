"""A belief: weighted particles in place of one hidden vector."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from prunella.core.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Belief:
    """Weighted particles. Leading sizes are free: (B,) for one moment, (B, T) for a sequence.

    Particles and weights are float32 whatever the network computes in, and float64 for a float64
    network: logarithms of weights and long sums of states need the digits.

    Attributes:
        particles: Hidden states, (B, K, H) or (B, T, K, H).
        log_weights: Logarithms of the weights, (B, K) or (B, T, K); exp of them sums to 1 over K.
        memory: Cell states of a PF-LSTM, of the shape of the particles; None for a PF-GRU.
        steps: How many steps have led to it, where sequences of a batch differ the most. A step is
            normalised by how far it is from the beginning (`StepNorm`).
    """

    particles: Tensor  # (*, K, H)
    log_weights: Tensor  # (*, K)
    memory: Tensor | None = None  # (*, K, H)
    steps: int = 0

    def __post_init__(self) -> None:
        """Raise InputError where the shapes do not belong together."""
        if self.particles.ndim < 2 or self.log_weights.shape != self.particles.shape[:-1]:
            raise InputError(
                f"Belief: particles have shape {tuple(self.particles.shape)} and log_weights "
                f"{tuple(self.log_weights.shape)}; expected (B, K, H) and (B, K)."
            )
        if self.memory is not None and self.memory.shape != self.particles.shape:
            raise InputError(
                f"Belief: memory has shape {tuple(self.memory.shape)}; expected that of the "
                f"particles, {tuple(self.particles.shape)}."
            )

    @property
    def num_particles(self) -> int:
        """K."""
        return self.particles.shape[-2]

    def mean(self) -> Tensor:  # (*, H)
        """Weighted mean of the particles, (B, H) or (B, T, H)."""
        return weighted_mean(self.particles, self.log_weights)

    def effective_sample_size(self) -> Tensor:  # (*,)
        """1 / sum of squared weights, between 1 and K.

        Source: Kong, Liu and Wong, "Sequential imputations and Bayesian missing data problems",
        JASA 89, 1994, with the weights' variance estimated by their squares.
        """
        return effective_sample_size(self.log_weights)

    def detach(self) -> Belief:
        """The same belief without its history of gradients (truncated backpropagation)."""
        return self.each(lambda tensor: tensor.detach())

    def to(self, *target: torch.device | str | torch.dtype) -> Belief:
        """The same belief on another device or in another type, as `Tensor.to`."""
        return self.each(lambda tensor: tensor.to(*target))  # type: ignore[call-overload]

    def each(self, change: Callable[[Tensor], Tensor]) -> Belief:
        """The belief of the changed tensors."""
        return replace(
            self,
            particles=change(self.particles),
            log_weights=change(self.log_weights),
            memory=None if self.memory is None else change(self.memory),
        )

    def cut(self, row: int) -> tuple[Belief, Belief]:
        """The beliefs of the rows before one, and of those from it on."""
        return self.each(lambda rows: rows[:row]), self.each(lambda rows: rows[row:])

    @classmethod
    def joined(cls, parts: Sequence[Belief]) -> Belief:
        """One belief of the rows of several."""
        if len(parts) == 1:
            return parts[0]
        memories = [part.memory for part in parts if part.memory is not None]
        return cls(
            particles=torch.cat([part.particles for part in parts]),
            log_weights=torch.cat([part.log_weights for part in parts]),
            memory=torch.cat(memories) if memories else None,
            steps=max(part.steps for part in parts),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Trajectory:
    """The beliefs of a whole sequence.

    Attributes:
        beliefs: Belief after every step, as the outputs are read: particles (B, T, K, H),
            log_weights (B, T, K). Where a sequence has ended particles are 0 and weights 1/K.
        filtered_log_weights: (B, T, K) log-weights of each step before its resampling, in the order
            of the particles then: what an observation did to the belief.
        ancestors: (B, T, K) which of the particles before resampling each one is a copy of; where a
            sequence has ended each is its own.
    """

    beliefs: Belief
    filtered_log_weights: Tensor  # (B, T, K)
    ancestors: Tensor  # (B, T, K)

    @property
    def particles(self) -> Tensor:  # (B, T, K, H)
        """Particles after every step."""
        return self.beliefs.particles

    @property
    def log_weights(self) -> Tensor:  # (B, T, K)
        """Log-weights after every step."""
        return self.beliefs.log_weights

    def means(self) -> Tensor:  # (B, T, H)
        """Weighted means, as `forward` returns them."""
        return self.beliefs.mean()

    def effective_sample_size(self) -> Tensor:  # (B, T)
        """Effective sample size before each resampling, between 1 and K.

        After resampling it says little: with alpha = 1 it is K at every step.
        """
        return effective_sample_size(self.filtered_log_weights)

    def lineages(self) -> Tensor:  # (B, T)
        """How many of the particles before the first step have descendants after each step.

        It never grows. Where it is 1 all particles go back to one, and differ by the noise since
        then alone. Resampling makes it fall even if all weights are even, unless it is systematic.
        Source: docs/theory/particle-filter-rnn.md, section 3.
        """
        batch, _, count = self.ancestors.shape
        first = torch.arange(count, device=self.ancestors.device).expand(batch, count)
        found = [self.ancestors.new_zeros(batch, 0)]
        for step in self.ancestors.unbind(1):
            first = first.gather(1, step)
            alive = torch.zeros_like(first).scatter_(1, first, 1)
            found.append(alive.sum(1, keepdim=True))
        return torch.cat(found, 1)


def weighted_mean(
    particles: Tensor,  # (*, K, H)
    log_weights: Tensor,  # (*, K)
) -> Tensor:  # (*, H)
    """Sum over K of exp(log_weights) * particles, in their type under autocast too."""
    with torch.autocast(particles.device.type, enabled=False):
        return (log_weights.exp().unsqueeze(-2) @ particles).squeeze(-2)


def effective_sample_size(
    log_weights: Tensor,  # (*, K)
) -> Tensor:  # (*,)
    """1 / sum of squared weights, computed in logarithms; log_weights are normalised."""
    return torch.exp(-torch.logsumexp(2 * log_weights, dim=-1))
