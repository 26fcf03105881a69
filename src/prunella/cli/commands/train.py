"""`prunella train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch

from prunella.cli import options as o
from prunella.cli.config import TaskConfig, TrainConfig, names_field, resolve
from prunella.cli.helping import examples
from prunella.cli.networks import build_network, find_network, require_fit
from prunella.cli.samples import read_split
from prunella.cli.sequences import train_task
from prunella.cli.training import METRICS, WEIGHTS, TrainingRun
from prunella.core.errors import InputError
from prunella.measure import accuracy
from prunella.sequences import TASKS

EXAMPLES = examples(
    "prunella train --network resnet20 --data fashion-mnist --epochs 20 \\\n    --out runs/r20",
    "prunella train --config runs/r20/config.yaml --seed 1 --out runs/r20-again",
    "prunella train --task maze10 --core pf-lstm --particles 30 --hidden 64 \\\n"
    "    --epochs 20 --out runs/maze",
)
NAMED = {"Tasks": {task.name: task.line for task in TASKS.values()}}
_FILES = {WEIGHTS: "the trained weights", METRICS: "accuracy, hash and the course of training"}
_SEQUENCES = "Sequences"


def train(
    network: o.Network = None,
    data: o.Data = None,
    data_dir: o.DataDir = None,
    download: o.Download = None,
    task: Annotated[
        str | None,
        o.option(_SEQUENCES, "NAME", "A task of sequences, in place of --network and --data."),
    ] = None,
    core: Annotated[
        str | None,
        o.option(
            _SEQUENCES,
            "NAME",
            "pf-lstm or pf-gru, which carry particles; lstm, gru, or bn-lstm, bn-gru with batch "
            "norm.",
            default=o.default_of(TaskConfig, "architecture.core"),
        ),
    ] = None,
    particles: Annotated[
        int | None,
        o.option(
            _SEQUENCES,
            "N",
            "Particles of a belief; the other cores have none.",
            default=o.default_of(TaskConfig, "architecture.particles"),
        ),
    ] = None,
    hidden: Annotated[
        int | None,
        o.option(
            _SEQUENCES,
            "N",
            "Size of the hidden state, of each particle.",
            default=o.default_of(TaskConfig, "architecture.hidden"),
        ),
    ] = None,
    sequences: Annotated[
        int | None,
        o.option(
            _SEQUENCES,
            "N",
            "Sequences to learn from, and at most so many to choose the epoch and to test with.",
            default="all that the task has",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        o.option(_SEQUENCES, "N", "Steps of a sequence.", default="all that the task has"),
    ] = None,
    epochs: Annotated[
        int | None,
        o.option(
            o.TRAINING,
            "N",
            "Passes over the training samples.",
            default=o.default_of(TrainConfig, "recipe.epochs"),
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        o.option(
            o.TRAINING,
            "RATE",
            "Highest learning rate; of a task of sequences "
            f"{o.default_of(TaskConfig, 'recipe.learning_rate')} if not given.",
            default=o.default_of(TrainConfig, "recipe.learning_rate"),
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        o.option(
            o.TRAINING, "N", "Samples in a batch.", default=o.default_of(TrainConfig, "batch_size")
        ),
    ] = None,
    seed: o.Seed = None,
    config: o.Config = None,
    out: o.Out = None,
    resume: o.Resume = False,
    quiet: o.Quiet = False,
) -> None:
    """Train a network from scratch: one that classifies, or one of sequences.

    Writes weights.safetensors, metrics.json and config.yaml, and for a task of sequences
    report.html. An interrupted run goes on with --resume, and ends with the same weights as an
    unbroken one.
    """
    both = {
        "data_dir": data_dir, "recipe.epochs": epochs, "recipe.learning_rate": learning_rate,
        "batch_size": batch_size, "seed": seed,
    }  # fmt: skip
    images = {"network": network, "data": data, "download": download}
    belief = {
        "task": task, "architecture.core": core, "architecture.particles": particles,
        "architecture.hidden": hidden, "sequences": sequences, "steps": steps,
    }  # fmt: skip
    if task is not None or names_field(config, "task"):
        o.refuse(
            images, "is for images, and --task has its own samples and networks; leave out --task"
        )
        settings = resolve(TaskConfig, config, {**both, **belief})
        train_task(settings, out, resume=resume, quiet=quiet)
        return
    o.refuse(
        belief, "is for a task of sequences; give --task, too (prunella train --help lists them)"
    )
    if network is None and data is None and config is None:
        raise InputError(
            "nothing was said of what to train; give --network and --data for a classifier, or "
            "--task for a network of sequences (prunella train --help lists the tasks)."
        )
    _train_classifier(resolve(TrainConfig, config, {**both, **images}), out, resume, quiet)


def _train_classifier(settings: TrainConfig, out: Path | None, resume: bool, quiet: bool) -> None:
    run = TrainingRun(settings, out, resume=resume, quiet=quiet, files=_FILES)
    find_network(settings.network)
    if run.say_finished():
        return
    with run.working():
        samples = read_split(settings, "train", run.progress)
        held_out = read_split(settings, "test", run.progress)
        torch.manual_seed(settings.seed)
        model = build_network(settings.network, settings.network_args, samples)
        require_fit(model, samples)
        records = run.fit(model, samples.loader(settings.batch_size, shuffle=True))
        run.speaker.stage("measuring accuracy")
        reached, count = accuracy(model, held_out.loader(500), progress=run.progress)
        run.write(model, {"test_accuracy": reached, "test_samples": count}, records)
    run.speaker.say(f"\ntest accuracy {100 * reached:.2f} % on {count:,} samples")
    run.speaker.files(run.written)
