"""The maze: networks with a belief against gated ones, through prunella's training loop.

Every configuration is trained on the same walks from several seeds; the epoch is chosen by the
error of the last step on walks for validation, and the table has the error on walks that nothing
was chosen with. A row is written when its run is finished, and rows that are there are not run
again, so the script can be stopped and called again. Networks called "equal" have the hidden size
that brings them nearest to the parameters of the PF network of their kind; "large" ones have four
times its hidden size; an ensemble averages the predictions of all seeds of the equal networks.

    python benchmarks/maze.py --trajectories 2000 --epochs 20 --seeds 0 1 2 --out maze.csv
    python benchmarks/maze.py --only pf-lstm lstm-equal --seeds 0 1 2 --trajectories 10000 \
        --steps 80 --particles 30 --hidden 64 --epochs 800 --batch 128 --learning-rate 5e-4 \
        --dropout 0.5 --out maze.csv

The second is the setting of Ma et al. (AAAI 2020); the defaults are far smaller. Beside the table
OUT there are OUT-curves.csv with one row for each epoch, and OUT-weights/ with the best weights.
Times are of one thread.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

import prunella
from prunella.retrain import EpochRecord, assess, best_epoch, fit
from prunella.sequences import Walks, bayes_means
from prunella.tasks import (
    RECIPE,
    Architecture,
    ConstantPredictor,
    Predictions,
    TaskData,
    build,
    equal_sized,
    objective_for,
    parameter_count,
    read_task,
)

BATCH = 500  # walks at once where nothing is learnt
SETTING = ("trajectories", "steps", "epochs", "batch", "learning_rate", "dropout")
COLUMNS = (
    "configuration", "seed", "task", "core", "hidden", "particles", "parameters", *SETTING,
    "best_epoch", "validation_loss_last", "test_loss_last", "test_mse", "cpu_s_per_epoch",
)  # fmt: skip
CURVES = ("configuration", "seed", *SETTING, "epoch", "loss", "loss_last", "held_out_loss_last")
Row = dict[str, object]


def pf(core: str, **changes: object) -> Callable[[Architecture, TaskData], Architecture]:
    return lambda base, _: base.model_copy(update={"core": core, **changes})


def equal(core: str, to: str) -> Callable[[Architecture, TaskData], Architecture]:
    def sized(base: Architecture, data: TaskData) -> Architecture:
        reference = base.model_copy(update={"core": to})
        return equal_sized(base.model_copy(update={"core": core}), data, reference)

    return sized


def large(core: str) -> Callable[[Architecture, TaskData], Architecture]:
    return lambda base, _: base.model_copy(update={"core": core, "hidden": 4 * base.hidden})


CONFIGURATIONS: Mapping[str, Callable[[Architecture, TaskData], Architecture]] = {
    "pf-lstm": pf("pf-lstm"),
    "pf-gru": pf("pf-gru"),
    "lstm-equal": equal("lstm", "pf-lstm"),
    "gru-equal": equal("gru", "pf-gru"),
    "lstm-large": large("lstm"),
    "gru-large": large("gru"),
    "bn-lstm-equal": equal("bn-lstm", "pf-lstm"),
    "bn-gru-equal": equal("bn-gru", "pf-gru"),
    "pf-lstm-no-elbo": pf("pf-lstm", beta=0.0),
    "pf-lstm-no-resampling": pf("pf-lstm", resampling="never"),
    "pf-lstm-loud": pf("pf-lstm", noise=0.7),
    "pf-lstm-tanh": pf("pf-lstm", candidate="tanh"),
    "pf-lstm-1": pf("pf-lstm", particles=1),
    "pf-lstm-5": pf("pf-lstm", particles=5),
    "pf-lstm-10": pf("pf-lstm", particles=10),
    "pf-lstm-30": pf("pf-lstm", particles=30),
}
ENSEMBLES = {"lstm-ensemble": "lstm-equal", "gru-ensemble": "gru-equal"}
ANCHORS = ("constant", "bayes")


class Ensemble(nn.Module):
    """Averages what several networks predict."""

    def __init__(self, members: list[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(
        self,
        x: Tensor,  # (B, T, 8)
    ) -> Predictions:
        return Predictions(torch.stack([member(x).mean for member in self.members]).mean(0))


@dataclass(frozen=True)
class Table:
    """A CSV file that grows."""

    path: Path
    columns: tuple[str, ...]

    def rows(self) -> list[dict[str, str]]:
        if not self.path.exists():
            return []
        with self.path.open(newline="") as file:
            return list(csv.DictReader(file))

    def add(self, rows: list[Row]) -> None:
        new = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, self.columns)
            if new:
                writer.writeheader()
            writer.writerows(rows)


@dataclass(frozen=True)
class Bench:
    """What all runs share."""

    options: argparse.Namespace
    data: TaskData
    base: Architecture

    @property
    def setting(self) -> Row:
        return {name: getattr(self.options, name) for name in SETTING}

    def architecture(self, name: str) -> Architecture:
        return CONFIGURATIONS[ENSEMBLES.get(name, name)](self.base, self.data)

    def identity(self, name: str, seed: object) -> Row:
        """What tells a run from every other."""
        known: Row = {
            "configuration": name,
            "seed": seed,
            "task": self.options.task,
            **self.setting,
        }
        if name in ANCHORS:
            return known
        found = self.architecture(name)
        particles = found.particles if found.has_particles else ""
        return {**known, "core": found.core, "hidden": found.hidden, "particles": particles}

    def weights(self, name: str, seed: int) -> Path:
        folder = self.options.out.with_name(f"{self.options.out.stem}-weights")
        parts = [str(value) for value in self.identity(name, seed).values() if value != ""]
        return Path(folder) / f"{'-'.join(parts)}.safetensors"

    def done(self, rows: list[dict[str, str]], name: str, seed: object) -> bool:
        wanted = self.identity(name, seed)
        return any(all(row[k] == str(v) for k, v in wanted.items()) for row in rows)

    def repeats(self, name: str) -> bool:
        """Whether a number of particles is that of the others, so that it would be run twice."""
        return name != "pf-lstm" and self.architecture(name) == self.architecture("pf-lstm")

    def row(self, name: str, seed: object, test: Mapping[str, float], **more: object) -> Row:
        return {
            **self.identity(name, seed),
            "test_loss_last": f"{test['loss_last']:.4f}",
            "test_mse": f"{test['mse']:.4f}",
            **more,
        }

    def trained(self, name: str, seed: int) -> tuple[Row, list[Row]]:
        """A row of the table, and those of the learning curve."""
        architecture = self.architecture(name)
        torch.manual_seed(seed)
        network = build(architecture, self.data)
        objective = objective_for(architecture, self.data)
        recipe = RECIPE.model_copy(
            update={
                "epochs": self.options.epochs,
                "learning_rate": self.options.learning_rate,
            }
        )
        start = time.process_time()
        records = fit(
            network, self.data.train.loader(self.options.batch, shuffle=True), recipe, seed=seed,
            objective=objective, validation=self.data.selection(),
        )  # fmt: skip
        spent = (time.process_time() - start) / len(records)
        test = assess(network, self.data.test.loader(BATCH), objective, seed=seed)
        best = best_epoch(records, "loss_last")
        self.weights(name, seed).parent.mkdir(parents=True, exist_ok=True)
        prunella.save_weights(self.weights(name, seed), network)
        row = self.row(
            name, seed, test,
            parameters=parameter_count(network), best_epoch=best,
            validation_loss_last=f"{records[best - 1].held_out['loss_last']:.4f}",
            cpu_s_per_epoch=f"{spent:.2f}",
        )  # fmt: skip
        return row, [self.point(name, seed, record) for record in records]

    def point(self, name: str, seed: int, record: EpochRecord) -> Row:
        return {
            "configuration": name,
            "seed": seed,
            **self.setting,
            "epoch": record.epoch,
            "loss": f"{record.loss:.4f}",
            "loss_last": f"{record.figures['loss_last']:.4f}",
            "held_out_loss_last": f"{record.held_out['loss_last']:.4f}",
        }

    def ensemble(self, name: str) -> Row | None:
        """The row of an ensemble; None where not all its members are there yet."""
        of = ENSEMBLES[name]
        architecture = self.architecture(of)
        paths = [self.weights(of, seed) for seed in self.options.seeds]
        if not all(path.exists() for path in paths):
            return None
        members: list[nn.Module] = []
        for path in paths:
            member = build(architecture, self.data)
            prunella.load_weights(path, member)
            members.append(member)
        model = Ensemble(members)
        objective = objective_for(architecture, self.data)
        test = assess(model, self.data.test.loader(BATCH), objective, seed=0)
        return self.row(name, self.seeds, test, parameters=parameter_count(model))

    @property
    def seeds(self) -> str:
        return " ".join(map(str, self.options.seeds))

    def anchor(self, name: str) -> Row:
        """What needs no training: the mean of the training places, and the exact Bayes filter."""
        if name == "constant":
            objective = objective_for(self.base, self.data)
            loader = self.data.test.loader(BATCH)
            return self.row(
                name, "", assess(ConstantPredictor(self.data), loader, objective, seed=0)
            )
        test = self.data.test
        places = test.in_units(test.targets)[..., :2].double().numpy()
        squares = ((bayes_means(self.data.maze, walks_of(self.data)) - places) ** 2).mean(-1)
        return self.row(name, "", {"loss_last": squares[:, -1].mean(), "mse": squares.mean()})


def walks_of(data: TaskData) -> Walks:
    """The test walks again from what a network sees; a step holds the move that led to it."""
    inputs = data.test.inputs.double().numpy()
    moves = inputs[..., 5:8].copy()
    moves[:, :-1], moves[:, -1] = inputs[:, 1:, 5:8], 0
    poses = data.test.in_units(data.test.targets)[..., :3].double().numpy()
    return Walks(poses=poses, moves=moves, distances=inputs[..., :5])


def rows_of(bench: Bench, table: Table, curves: Table) -> Iterator[Row]:
    """Run what is not there yet; each row is in the table when it comes out."""
    chosen = bench.options.only
    for name in ANCHORS:
        if name in chosen and not bench.done(table.rows(), name, ""):
            table.add([row := bench.anchor(name)])
            yield row
    for seed in bench.options.seeds:
        for name in CONFIGURATIONS:
            wanted = name in chosen and not bench.repeats(name)
            if wanted and not bench.done(table.rows(), name, seed):
                row, points = bench.trained(name, seed)
                curves.add(points)
                table.add([row])
                yield row
    for name in ENSEMBLES:
        if name in chosen and not bench.done(table.rows(), name, bench.seeds):
            found = bench.ensemble(name)
            if found is not None:
                table.add([found])
                yield found


def main() -> None:
    names = [*ANCHORS, *CONFIGURATIONS, *ENSEMBLES]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--task", default="maze10")
    parser.add_argument("--trajectories", type=int, default=500)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--particles", type=int, default=10)
    parser.add_argument("--hidden", type=int, default=32)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--out", type=Path, default=Path("maze.csv"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = read_task(options.task, sequences=options.trajectories, steps=options.steps)
    base = Architecture(hidden=options.hidden, particles=options.particles, dropout=options.dropout)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    curves = Table(options.out.with_name(f"{options.out.stem}-curves.csv"), CURVES)
    for row in rows_of(Bench(options, data, base), Table(options.out, COLUMNS), curves):
        print({name: row.get(name, "") for name in COLUMNS}, flush=True)


if __name__ == "__main__":
    main()
