"""PF-GRU: a GRU whose state is a set of weighted particles."""

from __future__ import annotations

import math

from torch import Tensor, nn

from prunella.recurrent.base import ParticleFilterRNN
from prunella.recurrent.belief import Belief
from prunella.recurrent.kernels import Norm, setting_of
from prunella.recurrent.layers import Factory, linear
from prunella.recurrent.norm import scale_and_shift
from prunella.recurrent.transitions import GRUWeights, gru_transition


class PFGRU(ParticleFilterRNN):
    """Particle filter GRU: every particle is a hidden state.

    Takes the arguments of `ParticleFilterRNN`; `Belief.memory` is None. The reset gate acts before
    the candidate's matrix, not after it as in `nn.GRU`. Equations:
    `docs/theory/particle-filter-rnn.md`, section 2.
    """

    _gates = 4  # keep, reset, mean and spread of the candidate
    _has_memory = False

    def _build(self, factory: Factory) -> None:
        size = self.hidden_size
        self.hidden_gates = linear(size, 2 * size, factory, bias=False)
        self.hidden_candidate = linear(size, 2 * size, factory, bias=False)
        # State and input go into the gates side by side, so they begin with the same spread.
        bound = 1 / math.sqrt(size + self.control_size)
        for layer in (self.input_gates, self.hidden_gates, self.hidden_candidate):
            for parameter in layer.parameters():
                nn.init.uniform_(parameter, -bound, bound)

    def _transition(
        self,
        belief: Belief,  # (B, K, H)
        inputs: Tensor,  # (B, 4H)
        noise: Tensor | None,  # (B, K, H)
        norm: Norm | None,
    ) -> Belief:
        scale, shift = scale_and_shift(self.norm, belief.particles.dtype)
        setting = setting_of(self.score.weight, self.activation, norm)
        weights = GRUWeights(
            gates=self.hidden_gates.weight,
            candidate=self.hidden_candidate.weight,
            norm_weight=scale,
            norm_bias=shift,
        )
        return gru_transition(belief, inputs, noise, weights, setting)
