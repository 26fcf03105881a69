"""`prunella train --task`: networks of sequences, with a belief or without."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

import torch

from prunella.cli.config import TaskConfig
from prunella.cli.invocation import program
from prunella.cli.rundir import CONFIG
from prunella.cli.training import METRICS, WEIGHTS, TrainingRun
from prunella.core.beliefs import SequenceReport
from prunella.core.errors import InputError
from prunella.files import write_atomically
from prunella.report import render_sequences
from prunella.retrain import EpochRecord, assess, best_epoch
from prunella.sequences import TASKS
from prunella.tasks import (
    Architecture,
    ConstantPredictor,
    SequenceNetwork,
    TaskData,
    belief_walks,
    build,
    objective_for,
    parameter_count,
    read_task,
)

_REPORT = "report.html"
_FILES = {
    WEIGHTS: "the weights of the best epoch",
    METRICS: "errors on test samples, hash and the course of training",
    _REPORT: "learning curves, and the belief in a maze",
}
_WALKS = 3  # shown in the report
_BATCH = 500  # sequences at once where nothing is learnt


def train_task(settings: TaskConfig, out: Path | None, *, resume: bool, quiet: bool) -> None:
    """Train a network for a task of sequences, judge it on test samples, and write the report.

    Raises:
        InputError: there is no such task, or the directory holds another run.
        DataError: the training fails, for instance because the loss is no number any more.
        FileError: files of the task are missing, or nothing can be written.
    """
    if settings.task not in TASKS:
        raise InputError(f"--task {settings.task}: expected one of {', '.join(TASKS)}.")
    run = TrainingRun(settings, out, resume=resume, quiet=quiet, files=_FILES)
    if run.say_finished():
        return
    with run.working():
        run.speaker.stage("reading or making the samples")
        data = read_task(
            settings.task, seed=settings.seed, sequences=settings.sequences, steps=settings.steps,
            data_dir=settings.data_dir,
        )  # fmt: skip
        torch.manual_seed(settings.seed)
        network = build(settings.architecture, data)
        objective = objective_for(settings.architecture, data)
        records = run.fit(
            network,
            data.train.loader(settings.batch_size, shuffle=True),
            objective=objective,
            validation=data.selection(),
        )
        run.speaker.stage("judging on test samples")
        loader = data.test.loader(_BATCH)
        test, constant = (
            assess(model, loader, objective, seed=settings.seed, progress=run.progress)
            for model in (network, ConstantPredictor(data))
        )
        best = best_epoch(records, data.figure, largest=data.train.classes) if records else 0
        found = {
            "task": settings.task,
            "test": test,
            "constant": constant,
            "test_sequences": len(data.test),
            "best_epoch": best,
            "parameters": parameter_count(network),
        }
        run.write(network, found, records)
        lead = _lead(test, constant, data)
        report = _report(settings, data, network, records, best, lead, run.directory)
        write_atomically(run.directory / _REPORT, render_sequences(report))
    run.speaker.say(f"\n{lead}")
    run.speaker.files(run.written)


def _lead(test: Mapping[str, float], constant: Mapping[str, float], data: TaskData) -> str:
    """What came out, in one sentence."""
    if data.train.classes:
        return (
            f"{100 * test['accuracy']:.2f} % of {len(data.test):,} test sequences are recognised; "
            f"the commonest class alone would give {100 * constant['accuracy']:.2f} %."
        )
    if data.maze is not None:
        return (
            f"After the last step the mean squared error of a coordinate is "
            f"{test['loss_last']:.2f} square cells on {len(data.test):,} test walks; always saying "
            f"the mean of the training places gives {constant['loss_last']:.2f}."
        )
    root, other = (math.sqrt(figures["mse"]) for figures in (test, constant))
    return (
        f"The root mean squared error is {root:.4g} on {len(data.test):,} test sequences; always "
        f"predicting the mean of the training targets gives {other:.4g}."
    )


def _report(
    settings: TaskConfig,
    data: TaskData,
    network: SequenceNetwork,
    records: Sequence[EpochRecord],
    best: int,
    lead: str,
    directory: Path,
) -> SequenceReport:
    architecture = settings.architecture
    pictured = data.maze is not None and architecture.has_particles
    walks = belief_walks(network, data.test, count=_WALKS, seed=settings.seed) if pictured else ()
    return SequenceReport(
        title=f"{settings.task}: {TASKS[settings.task].line}",
        lead=lead,
        facts=_facts(settings, data, network),
        curves=_curves(records, data.figure),
        best=best,
        cells=data.maze.cells.tolist() if data.maze is not None else (),
        walks=walks,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        command=shlex.join(
            [*program().split(), "train", "--config", str(directory / CONFIG),
             "--out", f"{directory}-again"]
        ),
    )  # fmt: skip


def _facts(
    settings: TaskConfig, data: TaskData, network: SequenceNetwork
) -> tuple[tuple[str, str], ...]:
    counts = (len(data.train), len(data.validation), len(data.test))
    recipe = settings.recipe
    return (
        ("Network", _words(settings.architecture)),
        ("Parameters", f"{parameter_count(network):,}"),
        ("Sequences", "{:,} to learn from, {:,} to choose the epoch, {:,} to test".format(*counts)),
        ("Steps", f"{data.train.inputs.shape[1]} at most"),
        ("Training", f"{recipe.epochs} epochs, {recipe.optimizer}, learning rate "
                     f"{recipe.learning_rate:g}, batches of {settings.batch_size}"),
        ("Seed", str(settings.seed)),
    )  # fmt: skip


def _words(architecture: Architecture) -> str:
    name = architecture.core.upper()
    if not architecture.has_particles:
        return f"{name} of {architecture.hidden} units"
    return f"{name}, {architecture.particles} particles of {architecture.hidden} units"


def _curves(records: Sequence[EpochRecord], figure: str) -> dict[str, list[float]]:
    """Loss, and the figure that the epoch is chosen by, on training and held-out samples."""
    if not records:
        return {}
    learnt = [
        record.accuracy if figure == "accuracy" else record.figures[figure] for record in records
    ]
    return {
        "epoch": [float(record.epoch) for record in records],
        "loss, training": [record.loss for record in records],
        "loss, held out": [record.held_out["loss"] for record in records],
        f"{figure}, training": learnt,
        f"{figure}, held out": [record.held_out[figure] for record in records],
    }
