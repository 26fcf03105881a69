"""A-priori bounds of two networks on the bundled samples; writes a table.

Run from the root of the repository, two minutes on an idle core:

    python benchmarks/a_priori.py --out benchmarks/results/a-priori.csv

ResNet-20 has shortcuts, so that its layers have bounds but the network has none; LeNet-5, trained
here for a few epochs, is a plain chain. Scores are made from training images, C and kappa from
images of the test set.
"""

from __future__ import annotations

import argparse
import csv
from importlib.resources import files
from pathlib import Path

import torch
from torch import nn

import prunella
from prunella.sampling import sample_complexity

SCORED, HELD_OUT = 256, 1000
ALPHA, DELTA = 0.05, 0.01
WANTED = 0.5  # relative error for which the necessary draws are given


def resnet20() -> nn.Module:
    model = prunella.networks.resnet20(in_channels=1)
    prunella.load_weights(files("prunella.networks") / "weights/resnet20.safetensors", model)
    return model


def lenet5() -> nn.Module:
    torch.manual_seed(0)
    model = prunella.networks.lenet5()
    training = prunella.data.bundled("calibration")
    recipe = prunella.Recipe(epochs=10, learning_rate=0.02)
    prunella.fit(model, training.loader(32, shuffle=True), recipe, seed=0)
    accuracy, count = prunella.accuracy(model, prunella.data.bundled("test").loader(200))
    print(f"lenet5: accuracy {100 * accuracy:.1f} % on {count:,} test images")
    return model


def rows(name: str, model: nn.Module, budget: float) -> list[dict[str, object]]:
    training = prunella.data.bundled("calibration").subset(range(SCORED))
    held_out = prunella.data.bundled("certification").subset(range(HELD_OUT))
    graph = prunella.trace(model, next(iter(training.loader(1)))[0])
    scores = prunella.sensitivities(model, graph, training.loader(64))
    plan = prunella.plan(graph, scores, prunella.Params(budget))
    found = prunella.a_priori(model, plan, scores, held_out.loader(100), alpha=ALPHA, delta=DELTA)
    print(f"{name}, at most {100 * budget:g} % of the parameters:\n{found}")
    layers = {group: layer for layer in found.network.layers for group in layer.groups}
    return [
        {
            "network": name,
            "params": budget,
            "held_out": found.n,
            "group": group.name,
            "size": group.size,
            "kept": group.kept,
            "zero_scores": group.raised,
            "C": f"{group.constant:.6g}",
            "S": f"{group.total:.6g}",
            "eta": group.sums,
            "deterministic": f"{group.deterministic.eps:.6g}",
            "draws": group.random.draws,
            "random": f"{group.random.eps:.6g}",
            "certain": group.hybrid.certain,
            "hybrid_draws": group.hybrid.draws,
            "hybrid": f"{group.hybrid.eps:.6g}",
            "draws_for_half": round(
                sample_complexity(WANTED, group.total, group.sums, DELTA, group.constant)
            ),
            "kappa": f"{layers[group.name].kappa:.6g}" if layers else "",
            "allowed": f"{layers[group.name].allowed:.3g}" if layers else "",
            "network_eps": "; ".join(f"{k} {v:.3g}" for k, v in found.network.eps.items())
            or found.network.reason,
        }
        for group in found.by_group.values()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/a-priori.csv"))
    arguments = parser.parse_args()
    model, chain = resnet20(), lenet5()
    table = [
        *rows("resnet20", model, 0.9),
        *rows("resnet20", model, 0.5),
        *rows("lenet5", chain, 0.9),
        *rows("lenet5", chain, 0.5),
    ]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with arguments.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(table[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
    print(f"{len(table)} rows in {arguments.out}")


if __name__ == "__main__":
    main()
