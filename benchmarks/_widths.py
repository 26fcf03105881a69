"""The networks of the sweep over widths, what is made of each, and the table of results."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor, nn

import prunella

SEEDS = (0, 1, 2)
COLUMNS = (
    "network", "seed", "width", "stage", "weights", "train_error", "test_error", "seconds",
)  # fmt: skip
Row = dict[str, str]
Stage = Literal[
    "dense", "short", "magnitude", "magnitude retrained", "pfp", "pfp repaired", "pfp retrained"
]


class Perceptron(nn.Module):
    """One hidden layer: 794 weights for each of its units."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(28 * 28, width, bias=False)
        self.out = nn.Linear(width, 10, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.relu(self.hidden(x.flatten(1))))


class Convolutional(nn.Module):
    """Three convolutions of equal width: 18 w^2 + 169 w weights."""

    def __init__(self, width: int) -> None:
        super().__init__()
        # 28 -> 14 -> 7 -> 4 pixels on a side
        self.conv1 = nn.Conv2d(1, width, 3, stride=2, padding=1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False)
        self.conv3 = nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False)
        self.out = nn.Linear(4 * 4 * width, 10, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.conv1, self.conv2, self.conv3):
            x = torch.relu(layer(x))
        return self.out(x.flatten(1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One sweep.

    Attributes:
        title: Of its panels.
        data: Name of the data set.
        build: Makes the network of a width.
        widths: Rising.
        small: The width whose number of weights all are pruned to.
        samples: For training.
        batch: Samples in a step.
        recipe: Of training; retraining is the same with half the epochs.
    """

    title: str
    data: str
    build: Callable[[int], nn.Module]
    widths: tuple[int, ...]
    small: int
    samples: int
    batch: int
    recipe: prunella.Recipe


def adam(rate: float) -> prunella.Recipe:
    return prunella.Recipe(epochs=100, learning_rate=rate, weight_decay=0.0, optimizer="adam")


SETTINGS = {
    "mlp": Setting(
        title="MLP",
        data="mnist",
        build=Perceptron,
        widths=(4, 6, 8, 12, 16, 24, 32, 64, 128, 256),
        small=8,
        samples=4_000,
        batch=200,
        recipe=adam(0.01),
    ),
    "cnn": Setting(
        title="CNN",
        data="fashion-mnist",
        build=Convolutional,
        widths=(2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64),
        small=4,
        samples=1_000,
        batch=100,
        recipe=adam(0.005),
    ),
}
Cell = tuple[str, int, int]  # network, seed, width


def cells() -> list[Cell]:
    """Both networks with one seed come before the next seed."""
    return [(name, seed, width) for seed in SEEDS for name, s in SETTINGS.items()
            for width in s.widths]  # fmt: skip


def cell_of(row: Row) -> Cell:
    return row["network"], int(row["seed"]), int(row["width"])


def expected(cell: Cell) -> set[Stage]:
    """What has a row for this network, seed and width."""
    small = SETTINGS[cell[0]].small
    if cell[2] < small:
        return {"dense"}
    if cell[2] == small:
        return {"dense", "short", "magnitude", "magnitude retrained"}
    return {*get_args(Stage)} - {"short"}


def read(path: Path) -> list[Row]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write(path: Path, rows: Sequence[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
