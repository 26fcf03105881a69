"""LSTM and GRU whose candidate goes through batch norm and a leaky ReLU, as in the PF cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prunella.recurrent.kernels import ALL_NEW, Norm
from prunella.recurrent.norm import NORM_STEPS, StepNorm, record
from prunella.recurrent.sequences import steps_of


@final
class BatchNormRNN(nn.Module):
    """The cell of PF-LSTM or PF-GRU with one state in place of a belief, and without noise.

    For comparisons: what is left of a PF network when particles, noise and weights are taken away.
    LSTM: g = LReLU(BN(g')), c = f c + i g, h = o tanh(c). GRU: n = LReLU(BN(W (r h) + x')),
    h = (1 - z) n + z h. Statistics are those of the sequences that run at a step.

    Source: Ma, Karkus, Hsu and Lee, "Particle filter recurrent neural networks", AAAI 2020, the
    baseline with batch norm and ReLU.
    """

    def __init__(self, kind: Literal["lstm", "gru"], input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.kind = kind
        self.input_size = input_size
        self.hidden_size = hidden_size
        gates = 4 if kind == "lstm" else 3
        self.of_input = nn.Linear(input_size, gates * hidden_size)
        self.of_state = nn.Linear(hidden_size, (gates if kind == "lstm" else 2) * hidden_size)
        self.of_reset = nn.Linear(hidden_size, hidden_size) if kind == "gru" else None
        self.norm = StepNorm(hidden_size, NORM_STEPS)

    def forward(
        self,
        x: Tensor,  # (B, T, D)
        lengths: Tensor | Sequence[int] | None = None,  # (B,)
    ) -> Tensor:  # (B, T, H)
        """Hidden states, 0 where a sequence has ended."""
        steps = steps_of(x, lengths, input_size=self.input_size, batch_first=True)
        gates = self.of_input(steps.inputs)
        state = x.new_zeros(steps.batch, self.hidden_size)
        memory = state
        states = []
        norms = self.norm.norms(0, steps.running, x.dtype)
        for time, running in enumerate(steps.running):
            given = gates[time, :running]
            state, memory = self._next(given, state[:running], memory[:running], norms[time])
            states.append(state)
        record(self.norm, norms, first=0)
        return steps.stacked(states, 0.0, x.new_zeros(steps.batch, self.hidden_size))

    def _next(
        self,
        gates: Tensor,  # (B, 4H) or (B, 3H)
        state: Tensor,  # (B, H)
        memory: Tensor,  # (B, H)
        norm: Norm,
    ) -> tuple[Tensor, Tensor]:
        if self.of_reset is None:
            forget, enter, leave, candidate = (gates + self.of_state(state)).chunk(4, -1)
            new = self._normalised(candidate, norm)
            memory = torch.sigmoid(forget) * memory + torch.sigmoid(enter) * new
            return torch.sigmoid(leave) * torch.tanh(memory), memory
        size = self.hidden_size
        keep, reset = torch.sigmoid(gates[:, : 2 * size] + self.of_state(state)).chunk(2, -1)
        new = self._normalised(gates[:, 2 * size :] + self.of_reset(reset * state), norm)
        return (1 - keep) * new + keep * state, memory

    def _normalised(
        self,
        candidate: Tensor,  # (B, H)
        norm: Norm,
    ) -> Tensor:  # (B, H)
        scaled = F.batch_norm(
            candidate, norm.mean, norm.variance, self.norm.weight, self.norm.bias,
            norm.batch_statistics, ALL_NEW, norm.eps,
        )  # fmt: skip
        return F.leaky_relu(scaled)
