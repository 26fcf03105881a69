"""Every registered method on the bundled ResNet-20, without retraining; writes a table.

Each method scores 256 bundled training images in its own way and keeps shares of the parameters.
Accuracy is that of 1,000 bundled test images, right after the cut and with batch norm estimated
anew on the same training images. Methods that draw at random run with five seeds; the table has the
mean and the smallest. No method is chosen by the table, so the test images are free of it.

    python benchmarks/methods.py --out benchmarks/results/methods.csv

A few minutes on one core.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import time
from importlib.resources import as_file, files
from pathlib import Path

import torch
from torch import nn

import prunella
from prunella.data import bundled

SHARES = (0.8, 0.6, 0.4)
SEEDS = range(5)
DRAWN = ("pfp-random", "pfp-hybrid", "pfp-systematic", "random")
COLUMNS = (
    "method", "params_asked", "params_kept", "macs_kept", "seeds", "accuracy_cut",
    "accuracy_cut_least", "accuracy_repaired", "accuracy_repaired_least", "scoring_s",
)  # fmt: skip


def original() -> nn.Module:
    model = prunella.networks.resnet20(in_channels=1)
    with as_file(files("prunella.networks") / "weights" / "resnet20.safetensors") as path:
        prunella.load_weights(path, model)
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="the table, CSV")
    arguments = parser.parse_args()
    model = original()
    training = bundled("calibration").subset(range(256)).loader(64)
    test = bundled("test").subset(range(1000)).loader(250)
    graph = prunella.trace(model, torch.zeros(1, 1, 28, 28))
    rows = []
    for name, method in prunella.METHODS.items():
        started = time.process_time()
        scores = prunella.score(model, graph, training, name) if method.uses_scores else None
        scoring_s = time.process_time() - started
        for share in SHARES:
            budget = prunella.Params(share)
            cut, repaired = [], []
            for seed in SEEDS if name in DRAWN else (0,):
                plan = prunella.plan(graph, scores, budget, name, seed=seed)
                small = plan.apply(model)
                cut.append(prunella.accuracy(small, test)[0])
                prunella.reestimate_batchnorm(small, training)
                repaired.append(prunella.accuracy(small, test)[0])
            params, macs, _ = plan.achieved.fraction_of(plan.original)
            numbers = (statistics.mean(cut), min(cut), statistics.mean(repaired), min(repaired))
            rows.append([name, share, f"{params:.4f}", f"{macs:.4f}", len(cut),
                         *(f"{number:.3f}" for number in numbers), f"{scoring_s:.2f}"])  # fmt: skip
            print(*rows[-1], flush=True)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with arguments.out.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])


if __name__ == "__main__":
    main()
