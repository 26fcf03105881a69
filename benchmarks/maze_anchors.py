"""What can be known of the place in a maze: the two anchors between which a network must lie.

For each maze the walks of the test part are drawn. The upper anchor always says the middle of the
map; the lower one is the exact Bayes filter, which knows the map and the displacements but makes no
use of collisions. Errors are mean squares over walks and the two
coordinates, in square cells.

    python benchmarks/maze_anchors.py --out benchmarks/results/maze-anchors.csv
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from prunella.sequences import bayes_means, standard_maze
from prunella.sequences.mazes import task_walks

WALKS = {10: 1000, 18: 300, 27: 300}
STEPS = (1, 2, 5, 10, 20, 40, 80)
COLUMNS = (
    "maze",
    "walks",
    "step",
    "middle",
    "bayes",
    "bayes_standard_error",
    "bayes_median",
    "bayes_90_percent",
    "bayes_99_percent",
    "bayes_unresolved",
)
_FAR = 1.0  # square cells; a larger error means that more than one place was left


def rows(size: int, walks: int) -> Iterator[dict[str, object]]:
    """One row for each step."""
    maze = standard_maze(size)
    walked = task_walks(size, "test", count=walks)
    truth = walked.poses[..., :2]
    bayes = np.square(bayes_means(maze, walked) - truth).mean(axis=-1)
    middle = np.square(np.array((maze.width, maze.height)) / 2 - truth).mean(axis=-1)
    for step in STEPS:
        errors = bayes[:, step - 1]
        numbers = {
            "middle": middle[:, step - 1].mean(),
            "bayes": errors.mean(),
            "bayes_standard_error": errors.std(ddof=1) / np.sqrt(walks),
            "bayes_median": np.median(errors),
            "bayes_90_percent": np.quantile(errors, 0.9),
            "bayes_99_percent": np.quantile(errors, 0.99),
            "bayes_unresolved": (errors > _FAR).mean(),
        }
        shown = {name: f"{number:.3g}" for name, number in numbers.items()}
        yield {"maze": f"{size}x{size}", "walks": walks, "step": step, **shown}


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with arguments.out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for size, walks in WALKS.items():
            for row in rows(size, walks):
                writer.writerow(row)
                print(row)


if __name__ == "__main__":
    main()
