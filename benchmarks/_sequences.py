"""Networks with a belief against gated ones on a task of sequences: configurations, runs, tables.

Shared by maze.py and sequence_comparison.py. All errors are small where a network is good: in a
maze the mean square of the place at the last step, in cells squared for each coordinate; for other
numbers the mean square over the steps, in units of the training part's variance; for classes the
share of sequences that are wrong.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
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

BATCH = 500  # sequences at once where nothing is learnt
SETTING = ("data_seed", "sequences", "steps", "epochs", "batch", "dropout")
COLUMNS = (
    "task", "configuration", "seed", "core", "hidden", "particles", "learning_rate", *SETTING,
    "parameters", "best_epoch", "validation", "test", "test_every_step", "cpu_s_per_epoch",
)  # fmt: skip
CURVES = (
    "task", "configuration", "seed", "epochs", "learning_rate", "epoch", "loss", "training",
    "validation",
)  # fmt: skip
Row = dict[str, object]
Sized = Callable[[Architecture, TaskData], Architecture]


def pf(core: str, **changes: object) -> Sized:
    return lambda base, _: base.model_copy(update={"core": core, **changes})


def equal(core: str, to: str) -> Sized:
    def sized(base: Architecture, data: TaskData) -> Architecture:
        reference = base.model_copy(update={"core": to})
        return equal_sized(base.model_copy(update={"core": core}), data, reference)

    return sized


def large(core: str) -> Sized:
    return lambda base, _: base.model_copy(update={"core": core, "hidden": 4 * base.hidden})


# Each of these has its learning rate from a search of its own.
FAMILIES: Mapping[str, Sized] = {
    "pf-lstm": pf("pf-lstm"),
    "pf-gru": pf("pf-gru"),
    "lstm-equal": equal("lstm", "pf-lstm"),
    "gru-equal": equal("gru", "pf-gru"),
    "lstm-large": large("lstm"),
    "gru-large": large("gru"),
    "bn-lstm-equal": equal("bn-lstm", "pf-lstm"),
    "bn-gru-equal": equal("bn-gru", "pf-gru"),
}
# These have the learning rate of pf-lstm, or of pf-gru.
ABLATIONS: Mapping[str, Sized] = {
    "pf-lstm-1": pf("pf-lstm", particles=1),
    "pf-lstm-no-elbo": pf("pf-lstm", beta=0.0),
    "pf-lstm-no-resampling": pf("pf-lstm", resampling="never"),
    "pf-lstm-tanh": pf("pf-lstm", candidate="tanh"),
    "pf-lstm-5": pf("pf-lstm", particles=5),
    "pf-lstm-10": pf("pf-lstm", particles=10),
    "pf-lstm-30": pf("pf-lstm", particles=30),
    "pf-lstm-loud": pf("pf-lstm", noise=0.7),
    "pf-lstm-systematic": pf("pf-lstm", scheme="systematic"),
    "pf-gru-1": pf("pf-gru", particles=1),
    "pf-gru-systematic": pf("pf-gru", scheme="systematic"),
    "pf-lstm-apart": pf(  # all that keeps particles apart
        "pf-lstm", scheme="systematic", resampling="ess", noise=0.7, beta=1.0
    ),
}
CONFIGURATIONS = {**FAMILIES, **ABLATIONS}
ENSEMBLES = {
    "lstm-ensemble": "lstm-equal",
    "gru-ensemble": "gru-equal",
    "bn-gru-ensemble": "bn-gru-equal",
}
ANCHORS = ("constant", "bayes")


class Ensemble(nn.Module):
    """Averages what several networks predict: numbers, or probabilities of classes."""

    def __init__(self, members: list[nn.Module], *, classes: bool) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.classes = classes

    def forward(
        self,
        x: Tensor,  # (B, T, F) or (B, T)
        lengths: Tensor | None = None,  # (B,)
    ) -> Predictions:
        means = torch.stack([member(x, lengths).mean for member in self.members])
        if self.classes:
            return Predictions(means.softmax(-1).mean(0).log())
        return Predictions(means.mean(0))


@dataclass(frozen=True)
class Table:
    """A CSV file that grows."""

    path: Path
    columns: tuple[str, ...]

    def rows(self) -> list[dict[str, str]]:
        if not self.path.exists():
            return []
        with self.path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def add(self, rows: Sequence[Row]) -> None:
        new = not self.path.exists()
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns, lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerows(rows)


@cache  # the search for an equal size builds many networks
def architecture_of(name: str, base: Architecture, data: TaskData) -> Architecture:
    return CONFIGURATIONS[name](base, data)


def error_of(figures: Mapping[str, float], data: TaskData) -> float:
    """The figure that a network is judged by, small where it is good."""
    value = figures[data.figure]
    if data.figure == "accuracy":
        return 1 - value
    return value if data.maze is not None else value / float(np.mean(np.square(data.train.scale)))


@dataclass(frozen=True)
class Bench:
    """What all runs of one task share."""

    options: argparse.Namespace
    task: str
    data: TaskData
    base: Architecture
    rates: Mapping[str, float]  # learning rate of each family

    def rate(self, name: str) -> float:
        if name in ABLATIONS:
            return self.rates[self.architecture(name).core]
        return self.rates[ENSEMBLES.get(name, name)]

    def architecture(self, name: str) -> Architecture:
        return architecture_of(ENSEMBLES.get(name, name), self.base, self.data)

    def identity(self, name: str, seed: object) -> Row:
        """What tells a run from every other."""
        setting = {key: "" if (v := getattr(self.options, key)) is None else v for key in SETTING}
        known: Row = {"task": self.task, "configuration": name, "seed": seed, **setting}
        if name in ANCHORS:
            return known
        found = self.architecture(name)
        return {
            **known,
            "core": found.core,
            "hidden": found.hidden,
            "particles": found.particles if found.has_particles else "",
            "learning_rate": self.rate(name),
        }

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
        if self.options.search:  # nothing may be chosen by the test
            return {**self.identity(name, seed), **more}
        every = f"{test['mse']:.4f}" if self.data.maze is not None else ""
        judged = f"{error_of(test, self.data):.4f}"
        return {**self.identity(name, seed), "test": judged, "test_every_step": every, **more}

    def tested(self, model: nn.Module, seed: int, architecture: Architecture) -> dict[str, float]:
        objective = objective_for(architecture, self.data)
        return assess(model, self.data.test.loader(BATCH), objective, seed=seed)

    def trained(self, name: str, seed: int) -> tuple[Row, list[Row]]:
        """A row of the table, and those of the learning curve."""
        architecture = self.architecture(name)
        torch.manual_seed(seed)
        network = build(architecture, self.data)
        changes = {"epochs": self.options.epochs, "learning_rate": self.rate(name)}
        start = time.process_time()
        records = fit(
            network, self.data.train.loader(self.options.batch, shuffle=True),
            RECIPE.model_copy(update=changes), seed=seed,
            objective=objective_for(architecture, self.data), validation=self.data.selection(),
        )  # fmt: skip
        spent = (time.process_time() - start) / len(records)
        chosen = self.data.selection()
        best = best_epoch(records, chosen.figure, largest=chosen.largest)
        test: dict[str, float] = {}
        if not self.options.search:
            test = self.tested(network, seed, architecture)
            self.weights(name, seed).parent.mkdir(parents=True, exist_ok=True)
            prunella.save_weights(self.weights(name, seed), network)
        row = self.row(
            name, seed, test,
            parameters=parameter_count(network), best_epoch=best,
            validation=f"{error_of(records[best - 1].held_out, self.data):.4f}",
            cpu_s_per_epoch=f"{spent:.2f}",
        )  # fmt: skip
        return row, [self.point(name, seed, record) for record in records]

    def point(self, name: str, seed: int, record: EpochRecord) -> Row:
        known = {k: v for k, v in self.identity(name, seed).items() if k in CURVES}
        learnt = {**record.figures, "accuracy": record.accuracy}
        return {
            **known,
            "epoch": record.epoch,
            "loss": f"{record.loss:.4f}",
            "training": f"{error_of(learnt, self.data):.4f}",
            "validation": f"{error_of(record.held_out, self.data):.4f}",
        }

    def load(self, name: str, seed: int) -> nn.Module:
        """A trained network again.

        Raises:
            FileNotFoundError: it was not trained, or its weights are gone.
        """
        network = build(self.architecture(name), self.data)
        prunella.load_weights(self.weights(name, seed), network)
        return network.eval()

    def ensemble(self, name: str) -> Row | None:
        """The row of an ensemble; None where not all its members are there yet."""
        of = ENSEMBLES[name]
        if not all(self.weights(of, seed).exists() for seed in self.options.seeds):
            return None
        members = [self.load(of, seed) for seed in self.options.seeds]
        model = Ensemble(members, classes=self.data.train.classes)
        test = self.tested(model, 0, self.architecture(of))
        return self.row(name, self.seeds, test, parameters=parameter_count(model))

    @property
    def seeds(self) -> str:
        return " ".join(map(str, self.options.seeds))

    def anchor(self, name: str) -> Row:
        """What needs no training: one prediction for everything, and the exact Bayes filter."""
        if name == "constant":
            return self.row(name, "", self.tested(ConstantPredictor(self.data), 0, self.base))
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
        known = name == "constant" or bench.data.maze is not None
        if known and name in chosen and not bench.done(table.rows(), name, ""):
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


def rates_from(path: Path | None, task: str, default: float) -> dict[str, float]:
    """The learning rate of each family with the smallest error on walks for validation."""
    if path is None:
        return dict.fromkeys(FAMILIES, default)
    rows = [row for row in Table(path, COLUMNS).rows() if row["task"] == task]
    found: dict[str, float] = {}
    for name in FAMILIES:
        mine = [row for row in rows if row["configuration"] == name]
        if not mine:
            raise SystemExit(f"{path} has no row of {task}, {name}; finish the search first.")
        found[name] = float(min(mine, key=lambda r: float(r["validation"]))["learning_rate"])
    return found


def parser(description: str, *, names: Sequence[str]) -> argparse.ArgumentParser:
    """The options that all comparisons share."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawTextHelpFormatter
    )
    made.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME")
    made.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    made.add_argument("--data-seed", type=int, default=0, help="of walks that are drawn")
    made.add_argument("--particles", type=int, default=10)
    made.add_argument("--hidden", type=int, default=32)
    made.add_argument("--epochs", type=int, default=2)
    made.add_argument("--batch", type=int, default=64)
    made.add_argument("--dropout", type=float, default=0.0)
    made.add_argument("--learning-rate", type=float, default=2e-3, help="without --rates")
    made.add_argument("--rates", type=Path, help="a table of --search, for the learning rates")
    made.add_argument(
        "--search", nargs="+", type=float, metavar="RATE",
        help="run the families with each of these learning rates, and do not look at the test",
    )  # fmt: skip
    return made


def bench_of(
    options: argparse.Namespace,
    task: str,
    rates: Mapping[str, float],
    *,
    data_dir: Path | None = None,
) -> Bench:
    """Data and architecture as the options say."""
    torch.set_num_threads(1)
    data = read_task(
        task, seed=options.data_seed, sequences=options.sequences, steps=options.steps,
        data_dir=data_dir,
    )  # fmt: skip
    base = Architecture(hidden=options.hidden, particles=options.particles, dropout=options.dropout)
    return Bench(options, task, data, base, rates)


def compare(options: argparse.Namespace, task: str, *, data_dir: Path | None = None) -> None:
    """All rows of a task that are not there yet."""
    options.out.parent.mkdir(parents=True, exist_ok=True)
    table = Table(options.out, COLUMNS)
    curves = Table(options.out.with_name(f"{options.out.stem}-curves.csv"), CURVES)
    if options.search:
        options.only = [name for name in options.only if name in FAMILIES]
        tried = [dict.fromkeys(FAMILIES, rate) for rate in options.search]
    else:
        tried = [rates_from(options.rates, task, options.learning_rate)]
    bench = bench_of(options, task, tried[0], data_dir=data_dir)
    for rates in tried:
        for row in rows_of(replace(bench, rates=rates), table, curves):
            print({name: row.get(name, "") for name in COLUMNS}, flush=True)
