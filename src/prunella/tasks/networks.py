"""Networks of sequences: encoder, recurrent core, head."""

from __future__ import annotations

import math
from typing import NamedTuple, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prunella.core.errors import InputError
from prunella.recurrent import PFGRU, PFLSTM, Trajectory
from prunella.sequences import Maze
from prunella.tasks.gated import BatchNormRNN
from prunella.tasks.settings import Architecture

Recurrent = PFLSTM | PFGRU | nn.LSTM | nn.GRU | BatchNormRNN


class Predictions(NamedTuple):
    """What a network of sequences returns: T steps, or the last one alone (T = 1).

    A tuple of tensors, because the training loop wraps the model and looks for tensors in what it
    returns.

    Attributes:
        mean: Head of the mean particle, or of the hidden state of a core without particles.
        particles: Head of each particle; None without particles, or where nobody asks for them.
        log_weights: Of the particles.
    """

    mean: Tensor  # (B, T, O)
    particles: Tensor | None = None  # (B, T, K, O)
    log_weights: Tensor | None = None  # (B, T, K)


@final
class SequenceNetwork(nn.Module):
    """Encoder, recurrent core and a linear head with the same weights for mean and particles."""

    def __init__(
        self,
        encoder: nn.Module,
        core: Recurrent,
        outputs: int,
        *,
        dropout: float,
        bounded: bool,
        last: bool,
        every_particle: bool,
    ) -> None:
        """Build the head.

        Args:
            encoder: From inputs of the data to inputs of the core (B, T, D).
            core: The recurrent layer.
            outputs: O.
            dropout: Of hidden states before the head.
            bounded: Outputs lie in (0, 1), through a sigmoid.
            last: Predict from the last step of each sequence alone.
            every_particle: Return what each particle predicts, too.
        """
        super().__init__()
        self.encoder = encoder
        self.core = core
        self.head = nn.Linear(core.hidden_size, outputs)
        self.dropout = nn.Dropout(dropout)
        self.bounded = bounded
        self.last = last
        self.every_particle = every_particle and isinstance(core, (PFLSTM, PFGRU))

    def forward(
        self,
        x: Tensor,  # (B, T, F) or (B, T)
        lengths: Tensor | None = None,  # (B,)
    ) -> Predictions:
        """Predictions for every step, or for the last of each sequence."""
        given = self.encoder(x)
        if isinstance(self.core, (PFLSTM, PFGRU)):
            return self._of_belief(self.core, given, lengths)
        if isinstance(self.core, BatchNormRNN):
            states = self.core(given, lengths)
        else:
            states = self.core(given)[0]  # later steps do not reach back into earlier ones
        if self.last:
            states = _last(states, lengths)
        return Predictions(self._read(states))

    def unroll(
        self,
        x: Tensor,  # (B, T, F)
    ) -> tuple[Predictions, Trajectory]:
        """Predictions of mean and particles for every step, and the beliefs, for pictures.

        Raises:
            InputError: the core has no particles.
        """
        if not isinstance(self.core, (PFLSTM, PFGRU)):
            raise InputError(
                f"the core is {type(self.core).__name__}, which has no belief to look at; expected "
                "PFLSTM or PFGRU."
            )
        trajectory, _ = self.core.unroll(self.encoder(x))
        particles = self._read(trajectory.particles)
        mean = self._read(trajectory.means())
        return Predictions(mean, particles, trajectory.log_weights), trajectory

    def _of_belief(
        self, core: PFLSTM | PFGRU, given: Tensor, lengths: Tensor | None
    ) -> Predictions:
        if self.every_particle and not self.last:
            trajectory, _ = core.unroll(given, lengths=lengths)
            mean, beliefs = trajectory.means(), trajectory.beliefs
            return Predictions(self._read(mean), self._read(beliefs.particles), beliefs.log_weights)
        means, final = core(given, lengths=lengths)
        if not self.last:
            return Predictions(self._read(means))
        mean = self._read(final.mean().unsqueeze(1))
        if not self.every_particle:
            return Predictions(mean)
        particles = self._read(final.particles.unsqueeze(1))
        return Predictions(mean, particles, final.log_weights.unsqueeze(1))

    def _read(
        self,
        states: Tensor,  # (..., H)
    ) -> Tensor:  # (..., O)
        outputs: Tensor = self.head(self.dropout(states.to(self.head.weight.dtype)))
        return torch.sigmoid(outputs) if self.bounded else outputs


@final
class MazeEncoder(nn.Module):
    """Distances and moves, each gated by what a small convolutional network makes of the map.

    Source: the network of the public code of Ma et al. (2020), rebuilt from its description: three
    convolutions, a layer of 64 units, and two gates of 32; inputs of the core are
    concat(relu(A distances) * gate(map), relu(B moves) * gate'(map)).
    """

    outputs = 64

    def __init__(self, maze: Maze, distances: int = 5, moves: int = 3) -> None:
        super().__init__()
        cells = torch.from_numpy(maze.cells.astype("float32"))
        picture = (cells - cells.mean()) / cells.std()
        self.register_buffer("picture", picture[None, None], persistent=False)
        self.distances = distances
        self.blocks = nn.Sequential(
            _block(1, 16, 5, stride=2, dropout=0.2),
            _block(16, 32, 3, stride=1, dropout=0.2),
            _block(32, 32, 3, stride=1, dropout=0.0),
        )
        size = 32 * ((maze.height + 1) // 2) * ((maze.width + 1) // 2)
        self.of_map = nn.Linear(size, 64)
        self.gate_distances = nn.Linear(64, 32)
        self.gate_moves = nn.Linear(64, 32)
        self.of_distances = nn.Linear(distances, 32)
        self.of_moves = nn.Linear(moves, 32)

    def forward(
        self,
        x: Tensor,  # (B, T, 8)
    ) -> Tensor:  # (B, T, 64)
        """Inputs of the core."""
        assert isinstance(self.picture, Tensor)
        # One copy for each sequence, so that dropout is not the same for all of them.
        pictures = self.picture.expand(len(x), -1, -1, -1)
        seen = F.relu(self.of_map(self.blocks(pictures).flatten(1)))
        gates = F.relu(self.gate_distances(seen)), F.relu(self.gate_moves(seen))
        distances = F.relu(self.of_distances(x[..., : self.distances]))
        moves = F.relu(self.of_moves(x[..., self.distances :]))
        return torch.cat((distances * gates[0].unsqueeze(1), moves * gates[1].unsqueeze(1)), dim=-1)


def core_of(architecture: Architecture, inputs: int) -> Recurrent:
    """The recurrent layer of an architecture for D = `inputs`."""
    hidden = architecture.hidden
    if architecture.core == "lstm":
        return nn.LSTM(inputs, hidden, batch_first=True)
    if architecture.core == "gru":
        return nn.GRU(inputs, hidden, batch_first=True)
    if architecture.core in ("bn-lstm", "bn-gru"):
        return BatchNormRNN("lstm" if architecture.core == "bn-lstm" else "gru", inputs, hidden)
    kind = PFLSTM if architecture.core == "pf-lstm" else PFGRU
    tanh = architecture.candidate == "tanh"
    core = kind(
        inputs,
        hidden,
        architecture.particles,
        alpha=architecture.alpha,
        resampling=architecture.resampling,
        scheme=architecture.scheme,
        norm="none" if tanh else "feature",
        activation="tanh" if tanh else "leaky_relu",
    )
    # Of the input's part of the gates the last is the spread, whose softplus is the deviation.
    with torch.no_grad():
        core.input_gates.bias[-hidden:] += _inverse_softplus(architecture.noise)
    return core


def _inverse_softplus(value: float) -> float:
    # log(exp(value) - 1), which would overflow for large values.
    return value + math.log(-math.expm1(-value))


def _block(inputs: int, outputs: int, kernel: int, *, stride: int, dropout: float) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.ReLU(),
        nn.BatchNorm2d(outputs),
        nn.Dropout2d(dropout),
    )


def _last(
    states: Tensor,  # (B, T, H)
    lengths: Tensor | None,  # (B,)
) -> Tensor:  # (B, 1, H)
    if lengths is None:
        return states[:, -1:]
    rows = torch.arange(len(states), device=states.device)
    return states[rows, lengths - 1].unsqueeze(1)
