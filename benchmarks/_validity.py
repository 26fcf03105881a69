"""What candidates answer on a population that is known in full, and draws from it."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from prunella.certificate.recording import Outcomes
from prunella.core.walks import Risk
from prunella.pipeline.judging import worse_and_better

LOSS = "Brier"
SAMPLINGS = ("with replacement", "without replacement")
_CHUNK = 200

Row = dict[str, object]
Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Family:
    """Candidates in the order of the tests, and what they answer on each of N samples.

    Attributes:
        name: For the table.
        params: Share of the parameters that each of the m candidates keeps, (m,).
        labels: (N,).
        original: Top class of the original, (N,); of each candidate, `small`, (m, N).
        small: See `original`.
        errors: Relative errors of the outputs, (m, N).
        ranks: Of the label by the original, (N,); by each candidate, `small_ranks`, (m, N).
        small_ranks: See `ranks`.
        loss: Of the original, (N,); of each candidate, `small_loss`, (m, N).
        small_loss: See `loss`.
    """

    name: str
    params: NDArray[np.float64]
    labels: NDArray[np.int64]
    original: NDArray[np.int64]
    small: NDArray[np.int64]
    errors: NDArray[np.float64]
    ranks: NDArray[np.int64]
    small_ranks: NDArray[np.int64]
    loss: NDArray[np.float64]
    small_loss: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.params)

    def outcomes(self, place: int, at: NDArray[np.int64] | slice) -> Outcomes:
        """What `certify` would write down of one candidate on some samples, in that order."""
        return Outcomes(
            original=self.original[at],
            small=self.small[place][at],
            labels=self.labels[at],
            errors=self.errors[place][at],
            ranks=(self.ranks[at], self.small_ranks[place][at]),
            losses={LOSS: (self.loss[at], self.small_loss[place][at])},
        )

    def events(self, risk: Risk) -> NDArray[np.bool_]:  # (N, m, 2)
        """Samples that count against each candidate, and those that count for it."""
        before, labels = torch.as_tensor(self.original), torch.as_tensor(self.labels)
        pairs = [
            worse_and_better(risk, before, torch.as_tensor(small), labels) for small in self.small
        ]
        return torch.stack([torch.stack(pair, dim=1) for pair in pairs], dim=1).numpy()

    def save(self, path: Path) -> None:
        """As an archive of arrays."""
        np.savez_compressed(path, **{entry.name: getattr(self, entry.name) for entry in _ENTRIES})

    @staticmethod
    def load(path: Path) -> Family:
        """The inverse of `save`."""
        with np.load(path) as archive:
            return Family(
                name=str(archive["name"]),
                **{entry.name: archive[entry.name] for entry in _ENTRIES if entry.name != "name"},
            )


_ENTRIES = fields(Family)


def drawn(
    generator: np.random.Generator, population: int, samples: int, sampling: str
) -> NDArray[np.int64]:  # (samples,)
    """Positions of the samples of one draw, in random order."""
    if sampling == "with replacement":
        return generator.integers(population, size=samples)
    return generator.choice(population, samples, replace=False)


def counted(
    events: NDArray[np.bool_],  # (N, m, 2)
    generator: np.random.Generator,
    samples: int,
    draws: int,
    sampling: str,
) -> Counts:  # (draws, m, 2)
    """How many samples of each draw count against and for each candidate."""
    population = len(events)
    table = events.reshape(population, -1).astype(np.float32)
    found = []
    for first in range(0, draws, _CHUNK):
        times = [
            np.bincount(drawn(generator, population, samples, sampling), minlength=population)
            for _ in range(min(_CHUNK, draws - first))
        ]
        found.append(np.stack(times).astype(np.float32) @ table)  # exact: small whole numbers
    return np.concatenate(found).astype(np.int64).reshape(draws, *events.shape[1:])


def allowed(delta: float, draws: int) -> float:
    """The share of wrong draws up to which delta holds, but for three standard errors of chance."""
    return delta + 3 * math.sqrt(delta * (1 - delta) / draws)
