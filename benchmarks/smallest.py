"""Search for the smallest ResNet-20 within some tolerances; writes a table.

Run from the root of the repository, about half an hour on one core:

    python benchmarks/smallest.py --out benchmarks/results/smallest.csv

    python benchmarks/smallest.py --out benchmarks/results/smallest-full.csv \
        --data-dir /usr/share/datasets/fashion-mnist

With `--data-dir` the search is that of the command line with 5,000 test images of Fashion-MNIST
for its tests: one point of accuracy, 99 % confidence, no training, for two methods; the other 5,000
show how the claim fares. Otherwise bundled samples: 256 for calibration,
1,200 for repair and retraining, 1,200 others for the start
where there is one, 2,000 for the tests, and 2,000 more that show how the claim fares on new ones.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
import time
from importlib.resources import files
from pathlib import Path

import torch

import prunella
from prunella.cli.main import main as cli

TOLERANCES = (("accuracy_drop", 0.01), ("accuracy_drop", 0.02), ("disagreement", 0.05))


def network() -> torch.nn.Module:
    model = prunella.networks.resnet20(in_channels=1)
    prunella.load_weights(files("prunella.networks") / "weights/resnet20.safetensors", model)
    return model.eval()


def searched(risk: str, alpha: float, *, start: bool, epochs: int) -> dict[str, object]:
    model = network()
    training = prunella.data.bundled("calibration")
    test = prunella.data.bundled("test")
    shuffler = torch.Generator().manual_seed(0)
    wall, processor = time.perf_counter(), time.process_time()
    result = prunella.smallest(
        model,
        training.subset(range(256)).loader(64),
        prunella.data.bundled("certification").loader(250),
        risk=risk,
        alpha=alpha,
        selection=training.subset(range(1200, 2400)).loader(250) if start else None,
        retraining=training.subset(range(1200)).loader(64, shuffle=True, generator=shuffler),
        recipe=prunella.Recipe(epochs=epochs, learning_rate=0.01, flip=True),
        evaluation=test.loader(250),
        on_stage=lambda words: print(f"  {words}", flush=True),
    )
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    walk, accuracy = result.walk, result.accuracy
    final = accuracy.after_retrain if epochs else accuracy.after_repair
    new = prunella.certify(model, result.model, test.loader(250))
    before, after = result.cost
    return {
        "risk": risk,
        "tolerated": alpha,
        "start": walk.shares[walk.start],
        "epochs": epochs,
        "tests": len(walk.steps),
        "chosen": walk.chosen,
        "params_kept": f"{after.params / before.params:.4f}",
        "macs_kept": f"{after.macs / before.macs:.4f}",
        "accuracy_original": accuracy.original,
        "accuracy_after_cut": accuracy.after_cut,
        "accuracy": final,
        "risk_on_test": f"{getattr(new, risk):.4f}",
        "seconds": f"{wall:.0f}",
        "processor_seconds": f"{processor:.0f}",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def walked(method: str, folder: Path, out: Path) -> dict[str, object]:
    """The command as a user gives it, and its claim on the test images that it did not see."""
    weights = files("prunella.networks") / "weights/resnet20.safetensors"
    command = [
        "prune", "--network", "resnet20", "--weights", str(weights), "--data", "fashion-mnist",
        "--data-dir", str(folder), "--max-drop", "1%", "--confidence", "99%", "--method", method,
        "--certification-samples", "5000", "--epochs", "0", "--out", str(out),
    ]  # fmt: skip
    wall, processor = time.perf_counter(), time.process_time()
    if cli(command):
        raise SystemExit(f"{' '.join(command)} failed")
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    walk, accuracy = report["walk"], report["accuracy"]
    before, after = report["before"], report["after"]
    # The accuracies are those on the test images that the tests did not see.
    return {
        "method": method,
        "risk": "accuracy_drop",
        "tolerated": 0.01,
        "confidence": 0.99,
        "certified_on": 5_000,
        "tests": len(walk["steps"]),
        "chosen": walk["chosen"],
        "params_kept": f"{after['params'] / before['params']:.4f}",
        "macs_kept": f"{after['macs'] / before['macs']:.4f}",
        "accuracy_original": accuracy["original"],
        "accuracy_after_cut": accuracy["after_cut"],
        "accuracy": accuracy["after_repair"],
        "judged_on": accuracy["samples"],
        "drop_on_others": f"{accuracy['original'] - accuracy['after_repair']:.4f}",
        "seconds": f"{wall:.0f}",
        "processor_seconds": f"{processor:.0f}",
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, nargs="*", default=[0, 1])
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--methods", nargs="*", default=["pfp", "obs"])
    given = parser.parse_args()
    rows = []
    if given.data_dir:
        with tempfile.TemporaryDirectory() as folder:
            for method in given.methods:
                rows.append(walked(method, given.data_dir, Path(folder) / method))
                print(rows[-1], flush=True)
    for epochs in () if given.data_dir else given.epochs:
        for risk, alpha in TOLERANCES:
            for start in (False, True):
                print(f"{risk} at most {alpha:g}, {epochs} epochs, start {start}", flush=True)
                rows.append(searched(risk, alpha, start=start, epochs=epochs))
    with given.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
