"""PF-LSTM: an LSTM whose state is a set of weighted particles."""

from __future__ import annotations

from torch import Tensor

from prunella.recurrent.base import ParticleFilterRNN
from prunella.recurrent.belief import Belief
from prunella.recurrent.kernels import Norm, setting_of
from prunella.recurrent.layers import Factory, linear
from prunella.recurrent.norm import scale_and_shift
from prunella.recurrent.transitions import LSTMWeights, lstm_transition


class PFLSTM(ParticleFilterRNN):
    """Particle filter LSTM: every particle is a hidden state with a cell state of its own.

    Takes the arguments of `ParticleFilterRNN`; `Belief.memory` holds the cell states. Equations:
    `docs/theory/particle-filter-rnn.md`, section 2.
    """

    _gates = 5  # forget, input, output, mean and spread of the candidate
    _has_memory = True

    def _build(self, factory: Factory) -> None:
        self.hidden_gates = linear(self.hidden_size, 5 * self.hidden_size, factory)

    def _gate_bias(self) -> Tensor | None:
        return self.hidden_gates.bias

    def _transition(
        self,
        belief: Belief,  # (B, K, H)
        inputs: Tensor,  # (B, 5H)
        noise: Tensor | None,  # (B, K, H)
        norm: Norm | None,
    ) -> Belief:
        scale, shift = scale_and_shift(self.norm, belief.particles.dtype)
        setting = setting_of(self.score.weight, self.activation, norm)
        weights = LSTMWeights(gates=self.hidden_gates.weight, norm_weight=scale, norm_bias=shift)
        return lstm_transition(belief, inputs, noise, weights, setting)
