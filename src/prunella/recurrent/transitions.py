"""One transition of a belief as a pure function: new particles, weights as they were.

Source: Ma, Karkus, Hsu and Lee, "Particle filter recurrent neural networks", AAAI 2020; equations
in docs/theory/particle-filter-rnn.md, section 2.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

from torch import Tensor

from prunella.recurrent.belief import Belief
from prunella.recurrent.kernels import GRUTransition, LSTMTransition, Setting


@dataclass(frozen=True, slots=True, kw_only=True)
class LSTMWeights:
    """What the transition of a PF-LSTM learns, apart from the input's part."""

    gates: Tensor  # (5H, H): forget, input, output, candidate mean, candidate spread
    norm_weight: Tensor | None  # (H,) or (K,)
    norm_bias: Tensor | None  # (H,) or (K,)


@dataclass(frozen=True, slots=True, kw_only=True)
class GRUWeights:
    """What the transition of a PF-GRU learns, apart from the input's part."""

    gates: Tensor  # (2H, H): keep, reset
    candidate: Tensor  # (2H, H): mean, spread
    norm_weight: Tensor | None  # (H,) or (K,)
    norm_bias: Tensor | None  # (H,) or (K,)


def lstm_transition(
    belief: Belief,  # particles and memory (B, K, H)
    inputs: Tensor,  # (B, 5H)
    noise: Tensor | None,  # (B, K, H)
    weights: LSTMWeights,
    setting: Setting,
) -> Belief:
    """Particles and memory after one step of a PF-LSTM.

    Args:
        belief: Particles and memory, both (B, K, H).
        inputs: The input's part of the gates with all biases, (B, 5H), the same for all particles.
        noise: Standard normal numbers, (B, K, H); None for none.
        weights: The learned part.
        setting: Activation, normalisation, and type of the products.
    """
    assert belief.memory is not None
    states, memory = LSTMTransition.apply(
        belief.particles.flatten(0, 1),
        belief.memory.flatten(0, 1),
        weights.gates,
        inputs,
        weights.norm_weight,
        weights.norm_bias,
        None if noise is None else noise.reshape(-1, noise.shape[-1]),
        setting,
    )  # type: ignore[no-untyped-call]
    shape = belief.particles.shape
    return replace(belief, particles=states.view(shape), memory=memory.view(shape))


def gru_transition(
    belief: Belief,  # particles (B, K, H)
    inputs: Tensor,  # (B, 4H)
    noise: Tensor | None,  # (B, K, H)
    weights: GRUWeights,
    setting: Setting,
) -> Belief:
    """Particles after one step of a PF-GRU; arguments as for `lstm_transition`."""
    states = GRUTransition.apply(
        belief.particles.flatten(0, 1),
        weights.gates,
        weights.candidate,
        inputs,
        weights.norm_weight,
        weights.norm_bias,
        None if noise is None else noise.reshape(-1, noise.shape[-1]),
        setting,
    )  # type: ignore[no-untyped-call]
    return replace(belief, particles=cast(Tensor, states).view_as(belief.particles))
