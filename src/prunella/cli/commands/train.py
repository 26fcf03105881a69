"""`prunella train`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated

import torch
from torch import nn

from prunella.cli import options as o
from prunella.cli.config import TrainConfig, resolve
from prunella.cli.helping import examples
from prunella.cli.networks import build_network, find_network, require_fit
from prunella.cli.rundir import (
    CONFIG,
    check_same_config,
    choose_directory,
    run_in,
    stages_left,
    write_config,
)
from prunella.cli.samples import read_split
from prunella.cli.say import Speaker
from prunella.files import save_weights, write_atomically
from prunella.files.stages import StageFiles
from prunella.measure import accuracy
from prunella.pipeline.reporting import environment
from prunella.retrain import Checkpoint, EpochRecord, fit
from prunella.terminal import progress_for_people

EXAMPLES = examples(
    "prunella train --network resnet20 --data fashion-mnist --epochs 20 \\\n    --out runs/r20",
    "prunella train --config runs/r20/config.yaml --seed 1 --out runs/r20-again",
)
_FILES = {
    "weights.safetensors": "the trained weights",
    "metrics.json": "accuracy, hash and the course of training",
    CONFIG: "the resolved configuration",
}


def train(
    network: o.Network = None,
    data: o.Data = None,
    data_dir: o.DataDir = None,
    download: o.Download = None,
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
            "Highest learning rate.",
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
    """Train a network from scratch, with stochastic gradient descent.

    Writes weights.safetensors, metrics.json and config.yaml. An interrupted run goes on with
    --resume, and ends with the same weights as an unbroken one.
    """
    given = {
        "network": network, "data": data, "data_dir": data_dir, "download": download,
        "recipe.epochs": epochs, "recipe.learning_rate": learning_rate, "batch_size": batch_size,
        "seed": seed,
    }  # fmt: skip
    settings = resolve(TrainConfig, config, given)
    directory = choose_directory(out, command="train", resume=resume)
    check_same_config(directory, settings)
    find_network(settings.network)
    speaker = Speaker(quiet=quiet)
    stages = StageFiles(directory)
    written = {directory / name: what for name, what in _FILES.items()}
    if all(path.exists() for path in written) and not stages_left(directory):
        speaker.say("This run is finished.")
        speaker.files(written)
        return
    progress = progress_for_people(quiet=quiet)
    with run_in(directory, command="train", epochs=settings.recipe.epochs):
        samples = read_split(settings, "train", progress)
        held_out = read_split(settings, "test", progress)
        torch.manual_seed(settings.seed)
        model = build_network(settings.network, settings.network_args, samples)
        require_fit(model, samples)
        write_config(directory, settings)

        def after_epoch(checkpoint: Checkpoint) -> None:
            stages.save_training(checkpoint)
            speaker.epoch(checkpoint.records[-1], epochs=settings.recipe.epochs)

        speaker.stage("training")
        records = fit(
            model,
            samples.loader(settings.batch_size, shuffle=True),
            settings.recipe,
            seed=settings.seed,
            resume=stages.load_training(),
            on_epoch=after_epoch,
            progress=progress,
        )
        speaker.stage("measuring accuracy")
        reached, count = accuracy(model, held_out.loader(500), progress=progress)
        _write(directory, model, records, reached, count)
        stages.clear()
    speaker.say(f"\ntest accuracy {100 * reached:.2f} % on {count:,} samples")
    speaker.files(written)


def _write(
    directory: Path, model: nn.Module, records: tuple[EpochRecord, ...], reached: float, count: int
) -> None:
    weights, metrics = directory / "weights.safetensors", directory / "metrics.json"
    save_weights(weights, model)
    content = {
        "test_accuracy": reached,
        "test_samples": count,
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "epochs": [record.to_json() for record in records],
        "environment": environment(),
    }
    write_atomically(metrics, json.dumps(content, indent=2) + "\n")
