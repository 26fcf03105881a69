"""`prunella train`."""

from __future__ import annotations

import hashlib
import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import torch
import typer

from prunella.cli.config import TrainConfig, resolve
from prunella.cli.networks import build_network
from prunella.cli.rundir import choose_directory, interruptible, write_config
from prunella.cli.samples import read_split
from prunella.cli.say import Speaker
from prunella.files import save_weights, write_atomically
from prunella.files.stages import StageFiles
from prunella.measure import accuracy
from prunella.pipeline.reporting import environment
from prunella.retrain import Checkpoint, fit
from prunella.terminal import progress_for_people


def train(
    network: Annotated[
        str | None, typer.Option(help="resnet20, torchvision:resnet18, or package.module:factory.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="fashion-mnist, mnist, cifar10, bundled, "
            "imagefolder:PATH or package.module:factory."
        ),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder to look for the data first.")
    ] = None,
    download: Annotated[bool | None, typer.Option(help="Fetch the data if absent.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training samples.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Highest learning rate.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Samples in a batch.")] = None,
    seed: Annotated[int | None, typer.Option(help="For everything random.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file; options override it.")] = None,
    out: Annotated[Path | None, typer.Option(help="Directory for all files.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on with the interrupted run in --out.")] = False,
    quiet: Annotated[bool, typer.Option(help="Print paths of written files only.")] = False,
) -> None:
    """Train a network from scratch, with stochastic gradient descent.

    Writes weights.safetensors, config.yaml and metrics.json. An interrupted run goes on with
    --resume, and ends with the same weights as an unbroken one.

    Example:

    `prunella train --network resnet20 --data fashion-mnist --epochs 20 --out runs/r20`
    """
    options = {
        "network": network, "data": data, "data_dir": data_dir, "download": download,
        "recipe.epochs": epochs, "recipe.learning_rate": learning_rate, "batch_size": batch_size,
        "seed": seed,
    }  # fmt: skip
    settings = resolve(TrainConfig, config, options)
    directory = choose_directory(out, command="train", resume=resume)
    speaker = Speaker(quiet=quiet)
    progress = progress_for_people(quiet=quiet)
    again = shlex.join(
        ["prunella", "train", "--config", str(directory / "config.yaml"),
         "--out", str(directory), "--resume"]
    )  # fmt: skip
    with interruptible(f"Go on with: {again}"):
        samples = read_split(settings, "train", progress)
        held_out = read_split(settings, "test", progress)
        torch.manual_seed(settings.seed)
        model = build_network(
            settings.network,
            settings.network_args,
            classes=len(samples.classes),
            channels=samples.images.shape[1],
        )
        write_config(directory, settings, resume=resume)
        stages = StageFiles(directory)

        def after_epoch(checkpoint: Checkpoint) -> None:
            stages.save_training(checkpoint)
            record = checkpoint.records[-1]
            speaker.say(
                f"epoch {record.epoch:>3} of {settings.recipe.epochs}  loss {record.loss:.4f}  "
                f"training accuracy {100 * record.accuracy:.2f} %"
            )

        records = fit(
            model,
            samples.loader(settings.batch_size, shuffle=True),
            settings.recipe,
            seed=settings.seed,
            resume=stages.load_training() if resume else None,
            on_epoch=after_epoch,
            progress=progress,
        )
        reached, count = accuracy(model, held_out.loader(500), progress=progress)
    weights = directory / "weights.safetensors"
    save_weights(weights, model)
    metrics = directory / "metrics.json"
    content = {
        "test_accuracy": reached,
        "test_samples": count,
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "epochs": [asdict(record) for record in records],
        "environment": environment(),
    }
    write_atomically(metrics, json.dumps(content, indent=2) + "\n")
    stages.clear()
    speaker.say(f"test accuracy {100 * reached:.2f} % on {count:,} samples")
    speaker.files(
        {
            weights: "the trained weights",
            metrics: "accuracy, hash and the course of training",
            directory / "config.yaml": "the resolved configuration",
        }
    )
