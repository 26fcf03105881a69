"""What is reached on the measured sequences without a network, as anchors for those with one.

Numbers are predicted by their training mean and by least squares on the last five steps; the error
is the mean square over the test steps, in units of the training part's variance. Classes are
predicted by the most frequent one and by least squares on the mean and the mean square of a
sequence's steps, or on which words a text has; the error is the share of test sequences that are
wrong. The ridge is chosen on the validation part. Needs the packages of `prunella[sequences]`, and
the film snippets in DIR (docs/guide/sequences.md), without which they are left out.

    python benchmarks/sequence_anchors.py --data-dir DIR --out FILE
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from prunella.sequences import TASKS, SequenceSet, load

NAMES = (
    "nasdaq-return",
    "nasdaq-range",
    "sp500-return",
    "sp500-range",
    "seattle-weather",
    "basic-motions",
    "japanese-vowels",
    "italy-power",
    "movie-snippets",
)
COLUMNS = ("task", "train", "validation", "test", "constant", "linear")
SPLITS = ("train", "validation", "test")
_PAST = 5  # steps
_RIDGES = (1.0, 10.0, 100.0, 1000.0)
Floats = NDArray[np.float64]


def steps_of(made: SequenceSet) -> tuple[Floats, Floats]:
    """The last five steps and the target, of every step that has as many before it."""
    inputs, targets = made.inputs.double().numpy(), made.targets.double().numpy()
    count = inputs.shape[1] - _PAST + 1
    past = np.concatenate([inputs[:, i : i + count] for i in range(_PAST)], axis=2)
    return past.reshape(-1, past.shape[2]), targets[:, _PAST - 1 :].reshape(-1, 1)


def wholes_of(made: SequenceSet) -> tuple[Floats, Floats]:
    """Numbers of a whole sequence, and its class as 1 among zeros."""
    if made.inputs.ndim == 2:
        numbers = np.zeros((len(made), len(made.features)))
        np.put_along_axis(numbers, made.inputs.numpy(), 1, axis=1)
        numbers[:, 0] = 0  # padding
    else:
        inputs = made.inputs.double().numpy()
        lengths = inputs.shape[1] if made.lengths is None else made.lengths.numpy()[:, None]
        sums = np.concatenate((inputs.sum(axis=1), np.square(inputs).sum(axis=1)), axis=1)
        numbers = sums / lengths
    return numbers, np.eye(len(made.outputs))[made.targets.numpy()]


def fitted(inputs: Floats, targets: Floats, ridge: float) -> Floats:
    """Least squares with a ridge, (D + 1, J); the last row is the constant."""
    middle = inputs.mean(axis=0)
    centred = inputs - middle
    gram = centred.T @ centred + ridge * np.eye(inputs.shape[1])
    slope = np.linalg.solve(gram, centred.T @ (targets - targets.mean(axis=0)))
    return np.vstack((slope, targets.mean(axis=0) - middle @ slope))


def error_of(predicted: Floats, targets: Floats, *, classes: bool) -> float:
    """Share of wrong classes, or mean square."""
    if classes:
        return float((predicted.argmax(axis=1) != targets.argmax(axis=1)).mean())
    return float(np.square(predicted - targets).mean())


def row(name: str, data_dir: Path | None) -> dict[str, object]:
    """The anchors of one task."""
    made = {split: load(name, split, data_dir=data_dir) for split in SPLITS}
    classes = made["train"].classes
    numbers = {s: (wholes_of if classes else steps_of)(m) for s, m in made.items()}
    found = [fitted(*numbers["train"], ridge) for ridge in _RIDGES]

    def error(weights: Floats, split: str) -> float:
        inputs, targets = numbers[split]
        return error_of(inputs @ weights[:-1] + weights[-1], targets, classes=classes)

    best = min(found, key=lambda weights: error(weights, "validation"))
    targets = numbers["test"][1]
    mean = np.broadcast_to(numbers["train"][1].mean(axis=0), targets.shape)
    return {
        "task": name,
        **{split: len(m) for split, m in made.items()},
        "constant": f"{error_of(mean, targets, classes=classes):.3f}",
        "linear": f"{error(best, 'test'):.3f}",
    }


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with arguments.out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for name in NAMES:
            in_folder = "data_dir" in TASKS[name].source
            if in_folder and arguments.data_dir is None:
                print(f"{name}: left out, --data-dir is not given")
                continue
            found = row(name, arguments.data_dir if in_folder else None)
            writer.writerow(found)
            print(found)


if __name__ == "__main__":
    main()
