"""What a network of sequences is made of, as data."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Core = Literal["pf-lstm", "pf-gru", "lstm", "gru", "bn-lstm", "bn-gru"]
PARTICLE_CORES = ("pf-lstm", "pf-gru")


class Architecture(BaseModel):
    """The recurrent core between encoder and head, and what it learns from.

    The defaults are those of Ma, Karkus, Hsu and Lee, "Particle filter recurrent neural networks",
    AAAI 2020, for the maze, except two. Their beta of 1 stands before an ELBO that is averaged, in
    a loss that is summed, some 20,000 times smaller; here the two are on one scale. And the noise
    starts lower than the 0.7 that a cell has of itself; benchmarks/maze.py compares (pf-lstm-loud).
    Fields that say "particles" do not touch the other cores.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    core: Core = Field(
        "pf-lstm", description="pf-lstm, pf-gru, lstm, gru, or bn-lstm, bn-gru: with batch norm"
    )
    particles: int = Field(30, ge=1, description="Particles of a belief.")
    hidden: int = Field(64, ge=1, description="Size of the hidden state, of each particle.")
    dropout: float = Field(0.5, ge=0, lt=1, description="Of hidden states before the head.")
    alpha: float = Field(
        0.5, ge=0, le=1, description="Share of the weights in what particles are drawn from."
    )
    resampling: Literal["always", "ess", "never"] = Field(
        "always", description="Draw particles anew; ess: where half of them or more are of no use."
    )
    scheme: Literal["multinomial", "systematic"] = Field(
        "multinomial",
        description="How; systematic keeps particles of even weights as they are.",
    )
    noise: float = Field(
        0.05, gt=0, description="Standard deviation of the particles' noise before any training."
    )
    candidate: Literal["bn-relu", "tanh"] = Field(
        "bn-relu", description="What the new memory of particles goes through."
    )
    beta: float = Field(0.1, ge=0, description="Weight of the particles' ELBO in the loss.")

    @property
    def has_particles(self) -> bool:
        """Whether the state is a belief."""
        return self.core in PARTICLE_CORES
