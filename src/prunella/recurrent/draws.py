"""Where the random numbers of a run come from, and what it begins with."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from prunella.recurrent.belief import Belief

_FIXED_SEED = 20_200_207


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """Draws for a batch, from a generator or from torch's global one.

    Attributes:
        generator: Its device may be another than the network's; None is torch's global generator.
        shared: Every sequence of the batch gets the same numbers, so that its result depends on
            nothing but itself.
        device: Where the numbers are needed.
        dtype: float32 or float64.
    """

    generator: torch.Generator | None
    shared: bool
    device: torch.device
    dtype: torch.dtype

    def uniform(self, batch: int, *sizes: int) -> Tensor:  # (B, *sizes), in [0, 1)
        """Uniform numbers."""
        return self._drawn(torch.rand, batch, sizes)

    def normal(self, batch: int, *sizes: int) -> Tensor:  # (B, *sizes)
        """Standard normal numbers."""
        return self._drawn(torch.randn, batch, sizes)

    def _drawn(self, draw: object, batch: int, sizes: tuple[int, ...]) -> Tensor:
        assert callable(draw)
        rows = 1 if self.shared else batch
        device = self.device if self.generator is None else self.generator.device
        numbers = draw(
            (rows, *sizes), generator=self.generator, device=device, dtype=self.dtype
        ).to(self.device)
        return torch.as_tensor(numbers).expand(batch, *sizes)


def fixed_generator() -> torch.Generator:
    """A new generator, always the same one, of which a deterministic run draws."""
    return torch.Generator().manual_seed(_FIXED_SEED)


def initial_belief(
    sizes: tuple[int, int, int],  # B, K, H
    draws: Draws,
    *,
    uniform: bool,
    memory: bool,
) -> Belief:  # (B, K, H)
    """States (and memory) uniform in [0, 1) or 0, and all weights 1/K."""

    def states() -> Tensor:
        if uniform:
            return draws.uniform(*sizes)
        return torch.zeros(sizes, device=draws.device, dtype=draws.dtype)

    particles = states()
    return Belief(
        particles=particles,
        log_weights=torch.full_like(particles[..., 0], -math.log(sizes[1])),
        memory=states() if memory else None,
    )
