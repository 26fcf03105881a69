"""Accuracy right after the cut and after the repair, without any training, for every method.

Every method keeps a share of the multiply-adds of a trained network. The cut network is judged as
it is, with new batch-norm statistics, with the means repaired (where layers have biases), and with
the whole repair that `prunella.prune` makes (least squares and batch norm); torch-pruning's norm
(L1) and Taylor importance, global, cut to the same multiply-adds, beside it as it is and with new
statistics.

    python benchmarks/repair.py --network resnet20 --data-dir /usr/share/datasets/fashion-mnist \
        --weights src/prunella/networks/weights/resnet20.safetensors
    prunella train --network lenet5 --data mnist --data-dir mnist --epochs 6 --seed 0 --out lenet5
    python benchmarks/repair.py --network lenet5 --data-dir mnist \
        --weights lenet5/weights.safetensors
    python benchmarks/repair.py --network vgg16_bn --data-dir /usr/share/datasets/fashion-mnist \
        --weights runs/vgg16_bn.safetensors --train
    python benchmarks/repair.py --network vgg16_bn --data-dir /usr/share/datasets/fashion-mnist \
        --weights runs/vgg16_bn.safetensors

VGG-16 sees Fashion-MNIST padded to 32 pixels; `--train` trains it for three epochs on 12,000
training images (half an hour on one core) and writes the weights. Channels are scored on 512
training images; repair and statistics use 2,000 others (LeNet-5: 10,000, VGG-16: 640). The test
images take no part in anything; all 10,000 of MNIST, the first 5,000 for ResNet-20, 1,000 for
VGG-16.
"""

from __future__ import annotations

import argparse
import copy
import csv
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import prunella
from _vision import BUNDLED, write_machine
from prunella.core.progress import silent
from prunella.data import ImageSet, load
from prunella.pipeline.repairing import repaired

SCORED_ON = 512
COLUMNS = (
    "network", "method", "asked", "macs_kept", "params_kept", "original", "cut", "statistics",
    "mean", "repaired", "seconds", "note",
)  # fmt: skip
Row = dict[str, object]


@dataclass(frozen=True)
class Subject:
    """A network, its data, and the shares of the multiply-adds to keep."""

    build: type[nn.Module] | object
    data: str
    side: int
    shares: tuple[float, ...]
    tested_on: int
    repaired_on: int
    biases: bool


SUBJECTS = {
    "resnet20": Subject(
        prunella.networks.resnet20, "fashion-mnist", 28, (0.7, 0.5, 0.3), 5_000, 2_000, False
    ),
    "lenet5": Subject(
        prunella.networks.lenet5, "mnist", 28, (0.7, 0.5, 0.3, 0.25, 0.1), 10_000, 10_000, True
    ),
    "vgg16_bn": Subject(
        prunella.networks.vgg16_bn, "fashion-mnist", 32, (0.7, 0.5, 0.3), 1_000, 640, False
    ),
}


def network(name: str) -> nn.Module:
    subject = SUBJECTS[name]
    return subject.build() if name == "lenet5" else subject.build(in_channels=1)


def images(subject: Subject, split: str, folder: Path | None) -> ImageSet:
    found = load(subject.data, split, data_dir=folder)
    edge = (subject.side - found.images.shape[-1]) // 2
    return replace(found, images=F.pad(found.images, (edge,) * 4)) if edge else found


def drawn(found: ImageSet, count: int, seed: int) -> ImageSet:
    order = torch.randperm(len(found), generator=torch.Generator().manual_seed(seed))
    return found.subset(order[:count].tolist())


def train(name: str, options: argparse.Namespace) -> None:
    subject = SUBJECTS[name]
    torch.manual_seed(0)
    model = network(name)
    samples = drawn(images(subject, "train", options.data_dir), 12_000, 0)
    recipe = prunella.Recipe(epochs=3, learning_rate=0.05, flip=True)
    shuffler = torch.Generator().manual_seed(0)
    records = prunella.fit(
        model, samples.loader(64, shuffle=True, generator=shuffler), recipe, seed=0,
        on_epoch=lambda _: print("epoch done", flush=True),
    )  # fmt: skip
    prunella.save_weights(options.weights, model)
    print(records[-1])


@dataclass(frozen=True)
class Bench:
    """What all rows of one network share."""

    name: str
    model: nn.Module
    graph: prunella.ChannelGraph
    scored: ImageSet
    repairing: ImageSet
    test: ImageSet

    def accuracy(self, model: nn.Module) -> str:
        return f"{prunella.accuracy(model, self.test.loader(250))[0]:.4f}"

    def with_statistics(self, model: nn.Module) -> str:
        again = copy.deepcopy(model)
        prunella.reestimate_batchnorm(again, self.repairing.loader(100))
        return self.accuracy(again)


def own_rows(bench: Bench, method: str, shares: list[float]) -> Iterator[Row]:
    chosen = prunella.METHODS[method]
    start = time.process_time()
    scores = None
    if chosen.uses_scores:
        scores = prunella.score(bench.model, bench.graph, bench.scored.loader(64), method)
    scoring = time.process_time() - start
    for share in shares:
        row: Row = {"network": bench.name, "method": method, "asked": share}
        try:
            plan = prunella.plan(bench.graph, scores, prunella.Flops(share), method)
        except prunella.BudgetError as error:
            yield row | {"note": str(error)[:120]}
            continue
        small = plan.apply(bench.model)
        row["cut"], row["statistics"] = bench.accuracy(small), bench.with_statistics(small)
        for kind in ("mean", "lstsq") if SUBJECTS[bench.name].biases else ("lstsq",):
            start = time.process_time()
            done = repaired(
                bench.model, copy.deepcopy(small), plan, bench.repairing.loader(100),
                kind=kind, seed=0, progress=silent,
            )  # fmt: skip
            row["mean" if kind == "mean" else "repaired"] = bench.accuracy(done)
        params, macs, _ = plan.achieved.fraction_of(plan.original)
        yield row | {
            "macs_kept": f"{macs:.4f}",
            "params_kept": f"{params:.4f}",
            "seconds": f"{scoring + time.process_time() - start:.1f}",
        }


def peer_rows(bench: Bench, method: str, shares: list[float]) -> Iterator[Row]:
    """torch-pruning, one step at the ratio that meets the multiply-adds, found by bisection."""
    import torch_pruning as tp

    example = torch.zeros(1, 1, *bench.test.images.shape[-2:])

    def cut(ratio: float) -> nn.Module:
        model = copy.deepcopy(bench.model)
        importance = (
            tp.importance.MagnitudeImportance(p=1)
            if method == "torch-pruning L1"
            else tp.importance.TaylorImportance()
        )
        last = [m for m in model.modules() if isinstance(m, nn.Linear)][-1]
        pruner = tp.pruner.BasePruner(
            model, example, importance=importance, pruning_ratio=ratio, global_pruning=True,
            max_pruning_ratio=0.95, ignored_layers=[last],
        )  # fmt: skip
        for own, known in zip(model.parameters(), gradients, strict=True):
            own.grad = known.clone()
        pruner.step()
        return model

    x, y = next(iter(bench.scored.loader(SCORED_ON)))
    loss = F.cross_entropy(bench.model(x), y)
    gradients = torch.autograd.grad(loss, list(bench.model.parameters()))
    whole = prunella.cost(bench.model, example)
    for share in shares:
        low, high, best, note = 0.0, 1.0, None, "no ratio reaches it"
        for _ in range(9):
            middle = (low + high) / 2
            try:
                small = cut(middle)
                macs = prunella.cost(small, example).macs / whole.macs
            except Exception as error:  # what it raises where it removes too much is its own
                high, note = middle, f"{type(error).__name__}: {error}"[:120]
                continue
            if macs <= share:
                high, best = middle, small
            else:
                low = middle
        row: Row = {"network": bench.name, "method": method, "asked": share}
        if best is None:
            yield row | {"note": note}
            continue
        params, macs, _ = prunella.cost(best, example).fraction_of(whole)
        yield row | {
            "macs_kept": f"{macs:.4f}",
            "params_kept": f"{params:.4f}",
            "cut": bench.accuracy(best.eval()),
            "statistics": bench.with_statistics(best),
        }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", choices=SUBJECTS, default="resnet20")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--weights", type=Path, help="of the trained network")
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--methods", nargs="*")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.weights is None:
        if options.network != "resnet20" or options.train:
            parser.error("give --weights; only ResNet-20 comes with the package")
        options.weights = BUNDLED
    torch.set_num_threads(options.threads)
    if options.train:
        train(options.network, options)
        return
    out = options.out or Path(f"benchmarks/results/repair-{options.network}.csv")
    subject, model = SUBJECTS[options.network], network(options.network)
    prunella.load_weights(options.weights, model)
    training = images(subject, "train", options.data_dir)
    order = drawn(training, SCORED_ON + subject.repaired_on, 1)
    test = images(subject, "test", options.data_dir).subset(range(subject.tested_on))
    example: Tensor = torch.zeros(1, 1, subject.side, subject.side)
    bench = Bench(
        name=options.network,
        model=model.eval(),
        graph=prunella.trace(model, example),
        scored=order.subset(range(SCORED_ON)),
        repairing=order.subset(range(SCORED_ON, len(order))),
        test=test,
    )
    original = bench.accuracy(model)
    rows: list[Row] = []
    if out.exists():
        rows = list(csv.DictReader(out.open(newline="", encoding="utf-8")))
    known = {(row["method"], float(str(row["asked"]))) for row in rows}
    peers = ("torch-pruning L1", "torch-pruning Taylor")
    for method in options.methods or (*prunella.METHODS, *peers):
        missing = [share for share in subject.shares if (method, share) not in known]
        found = (peer_rows if method in peers else own_rows)(bench, method, missing)
        try:
            for row in found if missing else ():
                rows.append(row | {"original": original})
                print(rows[-1], flush=True)
                with out.open("w", newline="", encoding="utf-8") as file:
                    writer = csv.DictWriter(file, fieldnames=COLUMNS, lineterminator="\n")
                    writer.writeheader()
                    writer.writerows(rows)
        except prunella.InputError as error:  # bn-scale, in a network without batch norm
            print(f"{method} is left out: {error}", flush=True)
    write_machine(
        out, scored_on=SCORED_ON, repaired_on=subject.repaired_on, tested_on=subject.tested_on
    )


if __name__ == "__main__":
    main()
