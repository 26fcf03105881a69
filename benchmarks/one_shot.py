"""All methods at equal budgets, one shot: cut, batch-norm statistics again, no retraining.

Each method scores the trained network on 256 training samples, keeps a share of the multiply-adds,
and the cut network is judged on test images: the 2,000 bundled ones for
ResNet-20, all of MNIST's for LeNet-5. Batch norm is re-estimated for all methods alike
on 1,024 training samples. Three seeds choose the samples and the random draws. Writes a table, and
a picture of it.

    python benchmarks/one_shot.py --network resnet20 --data fashion-mnist \
        --weights src/prunella/networks/weights/resnet20.safetensors \
        --data-dir /usr/share/datasets/fashion-mnist
    echo 'recipe: {flip: true}' > mirrored.yaml  # the weights behind the table are so trained
    prunella train --network lenet5 --data mnist --data-dir mnist --epochs 6 --seed 0 \
        --config mirrored.yaml --out lenet5
    python benchmarks/one_shot.py --network lenet5 --data mnist --data-dir mnist \
        --weights lenet5/weights.safetensors

The picture needs matplotlib, which prunella does not. Half an hour for ResNet-20 on one core,
a quarter of one for LeNet-5. Every
finished row is kept; started again, the script goes on from there.
"""

from __future__ import annotations

import argparse
import csv
import statistics
from pathlib import Path

import torch
from torch import nn

import prunella
from _vision import BUNDLED
from prunella.data import ImageSet, bundled, load

SHARES = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
SEEDS = (0, 1, 2)
SCORED_ON, STATISTICS_ON = 256, 1_024
COLUMNS = ("network", "method", "seed", "asked", "macs_kept", "params_kept", "accuracy", "note")
NETWORKS = {
    "resnet20": lambda: prunella.networks.resnet20(in_channels=1),
    "lenet5": lambda: prunella.networks.lenet5(),
}


def samples(training: ImageSet, seed: int) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(training), generator=generator)[:STATISTICS_ON]
    return training.subset(order.tolist())


def judged(network: str, model: nn.Module, graph, scores, method: str, seed: int, share: float,
           known: ImageSet, test: ImageSet) -> dict[str, object]:  # fmt: skip
    row: dict[str, object] = {"network": network, "method": method, "seed": seed, "asked": share}
    try:
        plan = prunella.plan(graph, scores, prunella.Flops(share), method, seed=seed)
    except prunella.BudgetError as error:
        return row | {"note": str(error)[:120]}
    small = plan.apply(model)
    if any(isinstance(module, nn.BatchNorm2d) for module in small.modules()):
        prunella.reestimate_batchnorm(small, known.loader(64))
    params, macs, _ = plan.achieved.fraction_of(plan.original)
    accuracy, _ = prunella.accuracy(small, test.loader(500))
    return row | {
        "macs_kept": f"{macs:.4f}",
        "params_kept": f"{params:.4f}",
        "accuracy": f"{accuracy:.4f}",
    }


def draw(rows: list[dict[str, object]], path: Path) -> None:
    """Accuracy over the kept share, the mean of the seeds and their range, for each method."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.4))
    for method in dict.fromkeys(str(row["method"]) for row in rows):
        points: dict[float, list[float]] = {}
        for row in rows:
            if row["method"] == method and row["accuracy"]:
                points.setdefault(float(str(row["asked"])), []).append(float(str(row["accuracy"])))
        shares = sorted(points)
        means = [100 * statistics.mean(points[share]) for share in shares]
        (line,) = axes.plot(shares, means, marker=".", label=method)
        axes.fill_between(
            shares,
            [100 * min(points[share]) for share in shares],
            [100 * max(points[share]) for share in shares],
            color=line.get_color(),
            alpha=0.12,
        )
    axes.set_xlabel("kept share of the multiply-adds")
    axes.set_ylabel("test accuracy without retraining, %")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", choices=NETWORKS, default="resnet20")
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--weights", type=Path, help="of the trained network")
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    if options.weights is None:
        if options.network != "resnet20":
            parser.error("give --weights; only ResNet-20 comes with the package")
        options.weights = BUNDLED
    out = options.out or Path(f"benchmarks/results/one-shot-{options.network}.csv")
    training = load(options.data, "train", data_dir=options.data_dir)
    small = options.network == "resnet20"
    test = bundled("test") if small else load(options.data, "test", data_dir=options.data_dir)
    model = NETWORKS[options.network]()
    prunella.load_weights(options.weights, model)
    model.eval()
    graph = prunella.trace(model, test.subset(range(1)).images.float())
    rows: list[dict[str, object]] = []
    if out.exists():
        rows = list(csv.DictReader(out.open(newline="", encoding="utf-8")))
    known_rows = {(row["method"], int(str(row["seed"])), float(str(row["asked"]))) for row in rows}
    for method, seed in ((m, s) for m in prunella.METHODS for s in SEEDS):
        missing = [share for share in SHARES if (method, seed, share) not in known_rows]
        if not missing:
            continue
        known = samples(training, seed)
        try:
            scored_on = known.subset(range(SCORED_ON)).loader(64)
            uses = prunella.METHODS[method].uses_scores
            scores = prunella.score(model, graph, scored_on, method) if uses else None
        except prunella.InputError as error:  # bn-scale, in a network without batch norm
            print(f"{method} is left out: {error}", flush=True)
            continue
        for share in missing:
            row = judged(options.network, model, graph, scores, method, seed, share, known, test)
            rows.append(row)
            print(row, flush=True)
            with out.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, fieldnames=COLUMNS, lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)
    draw(rows, out.with_suffix(".svg"))


if __name__ == "__main__":
    main()
