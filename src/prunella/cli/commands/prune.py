"""`prunella prune`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from prunella.cli.config import PruneConfig, resolve, to_yaml
from prunella.cli.networks import build_network
from prunella.cli.outcome import write_outcome
from prunella.cli.rundir import choose_directory, command_line, interruptible, write_config
from prunella.cli.samples import divide
from prunella.cli.say import Speaker
from prunella.files import load_weights
from prunella.files.stages import StageFiles
from prunella.pipeline import prune as prune_network
from prunella.select import method as method_named
from prunella.terminal import progress_for_people


def prune(
    network: Annotated[
        str | None, typer.Option(help="resnet20, torchvision:resnet18, or package.module:factory.")
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Trained weights: .safetensors, or a file for torch.load(weights_only=True)."
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="fashion-mnist, mnist, cifar10, bundled, "
            "imagefolder:PATH or package.module:factory."
        ),
    ] = None,
    params: Annotated[
        float | None, typer.Option(help="Kept fraction of the parameters: 0.4 keeps at most 40 %.")
    ] = None,
    flops: Annotated[float | None, typer.Option(help="Kept fraction of the multiply-adds.")] = None,
    method: Annotated[str | None, typer.Option(help="pfp, filter-norm or random.")] = None,
    multiple: Annotated[
        int | None,
        typer.Option(help="Keep multiples of this many channels; 8 suits CPUs, 1 is finest."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs of retraining; 0 for none.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of retraining.")] = None,
    calibration_samples: Annotated[
        int | None, typer.Option(help="Training samples that score the channels.")
    ] = None,
    retraining_samples: Annotated[
        int | None, typer.Option(help="Training samples to retrain on.")
    ] = None,
    certification_samples: Annotated[
        int | None, typer.Option(help="Test samples for the certificate.")
    ] = None,
    alpha: Annotated[
        float | None,
        typer.Option(help="Share of samples that may exceed the bound on the outputs."),
    ] = None,
    delta: Annotated[
        float | None,
        typer.Option(help="0.01 makes each statement of the certificate hold with 99 %."),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder to look for the data first.")
    ] = None,
    download: Annotated[bool | None, typer.Option(help="Fetch the data if absent.")] = None,
    seed: Annotated[int | None, typer.Option(help="For everything random.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file; options override it.")] = None,
    out: Annotated[Path | None, typer.Option(help="Directory for all files.")] = None,
    resume: Annotated[bool, typer.Option(help="Go on with the interrupted run in --out.")] = False,
    quiet: Annotated[bool, typer.Option(help="Print paths of written files only.")] = False,
) -> None:
    """Make a trained network small and certify how far the small one can be trusted.

    Writes pruned.safetensors (the small network with its plan), certificate.json, report.html,
    report.json and config.yaml. An interrupted run goes on with --resume.

    Example:

    `prunella prune --network resnet20 --weights runs/r20/weights.safetensors --data fashion-mnist --params 0.4`
    """
    options = {
        "network": network, "weights": weights, "data": data, "params": params, "flops": flops,
        "method": method, "multiple": multiple, "recipe.epochs": epochs,
        "recipe.learning_rate": learning_rate, "calibration_samples": calibration_samples,
        "retraining_samples": retraining_samples, "certification_samples": certification_samples,
        "alpha": alpha, "delta": delta, "data_dir": data_dir, "download": download, "seed": seed,
    }  # fmt: skip
    settings = resolve(PruneConfig, config, options)
    budget = settings.budget
    method_named(settings.method)
    directory = choose_directory(out, command="prune", resume=resume)
    progress = progress_for_people(quiet=quiet)
    speaker = Speaker(quiet=quiet)
    again = shlex.join(
        ["prunella", "prune", "--config", str(directory / "config.yaml"),
         "--out", str(directory), "--resume"]
    )  # fmt: skip
    with interruptible(f"Go on with: {again}"):
        parts = divide(
            settings,
            calibration=settings.calibration_samples,
            retraining=settings.retraining_samples,
            certification=settings.certification_samples,
            seed=settings.seed,
            progress=progress,
        )
        model = build_network(
            settings.network,
            settings.network_args,
            classes=len(parts.calibration.classes),
            channels=parts.calibration.images.shape[1],
        )
        load_weights(settings.weights, model)
        write_config(directory, settings, resume=resume)
        stages = StageFiles(directory)
        result = prune_network(
            model,
            parts.calibration.loader(settings.batch_size),
            budget=budget,
            certification=parts.certification.loader(250),
            evaluation=parts.evaluation.loader(250),
            retraining=parts.retraining.loader(settings.batch_size, shuffle=True),
            recipe=settings.recipe,
            method=settings.method,
            multiple=settings.multiple,
            latency_batches=settings.latency_batches,
            alpha=settings.alpha,
            delta=settings.delta,
            seed=settings.seed,
            progress=progress,
            stages=stages,
            on_stage=speaker.stage,
        )
        written = write_outcome(
            directory,
            result,
            title=f"{settings.network} on {parts.calibration.name}",
            command=command_line(),
            config=to_yaml(settings),
        )
        stages.clear()
    speaker.outcome(result)
    speaker.files(written)
