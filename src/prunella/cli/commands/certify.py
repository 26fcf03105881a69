"""`prunella certify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prunella.certificate import certify as certify_networks
from prunella.cli.config import CertifyConfig, resolve
from prunella.cli.networks import build_network
from prunella.cli.rundir import interruptible
from prunella.cli.samples import certification_part
from prunella.cli.say import Speaker
from prunella.core.errors import InputError
from prunella.files import load, load_weights, write_atomically
from prunella.files.models import load_plan
from prunella.terminal import progress_for_people


def certify(
    network: Annotated[str | None, typer.Option(help="As given to prune.")] = None,
    weights: Annotated[Path | None, typer.Option(help="Weights of the original network.")] = None,
    pruned: Annotated[
        Path | None, typer.Option(help="The small network: pruned.safetensors.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="fashion-mnist, mnist, cifar10, bundled, "
            "imagefolder:PATH or package.module:factory."
        ),
    ] = None,
    certification_samples: Annotated[int | None, typer.Option(help="Test samples to use.")] = None,
    alpha: Annotated[
        float | None,
        typer.Option(help="Share of samples that may exceed the bound on the outputs."),
    ] = None,
    delta: Annotated[
        float | None, typer.Option(help="0.01 makes each statement hold with 99 %.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder to look for the data first.")
    ] = None,
    download: Annotated[bool | None, typer.Option(help="Fetch the data if absent.")] = None,
    seed: Annotated[int | None, typer.Option(help="Draws the samples.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file; options override it.")] = None,
    out: Annotated[Path, typer.Option(help="File for the certificate.")] = Path("certificate.json"),
    quiet: Annotated[bool, typer.Option(help="Print the path of the written file only.")] = False,
) -> None:
    """Bound how far a small network strays from its original, on samples nothing else has used.

    Example:

    `prunella certify --network resnet20 --weights weights.safetensors --pruned runs/p/pruned.safetensors --data fashion-mnist --certification-samples 5000`
    """
    options = {
        "network": network, "weights": weights, "pruned": pruned, "data": data,
        "certification_samples": certification_samples, "alpha": alpha, "delta": delta,
        "data_dir": data_dir, "download": download, "seed": seed,
    }  # fmt: skip
    settings = resolve(CertifyConfig, config, options)
    if out.exists():
        raise InputError(f"{out}: exists already; give another --out.")
    progress = progress_for_people(quiet=quiet)
    speaker = Speaker(quiet=quiet)
    with interruptible("Nothing was written; run the same command again."):
        plan = load_plan(settings.pruned)
        samples, _ = certification_part(
            settings, settings.certification_samples, seed=settings.seed, progress=progress
        )
        model = build_network(
            settings.network,
            settings.network_args,
            classes=len(samples.classes),
            channels=samples.images.shape[1],
        )
        load_weights(settings.weights, model)
        certificate = certify_networks(
            model,
            load(settings.pruned, model),
            samples.loader(settings.batch_size),
            alpha=settings.alpha,
            delta=settings.delta,
            used=(plan.samples,),
            progress=progress,
        )
        write_atomically(out, certificate.to_json() + "\n")
    speaker.certificate(certificate)
    speaker.files({out: "the certificate"})
