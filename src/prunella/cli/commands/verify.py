"""`prunella verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prunella.certificate import verify_certificate
from prunella.cli import options as o
from prunella.cli.config import VerifyConfig, resolve
from prunella.cli.helping import examples
from prunella.cli.interrupts import interruptible
from prunella.cli.networks import build_network, find_network, require_fit
from prunella.cli.rundir import require_file
from prunella.cli.samples import certification_part
from prunella.cli.say import Speaker
from prunella.core.certificates import certificate_data, certificate_of
from prunella.core.errors import InputError
from prunella.files import load, load_weights
from prunella.files.atomic import read_text
from prunella.files.models import load_plan
from prunella.terminal import progress_for_people

EXAMPLES = examples(
    "prunella verify runs/r20-small/certificate.json --network resnet20 \\\n"
    "    --weights runs/r20/weights.safetensors \\\n"
    "    --pruned runs/r20-small/pruned.safetensors --data fashion-mnist",
)


def verify(
    certificate: Annotated[
        Path, typer.Argument(metavar="CERTIFICATE", help="certificate.json of a run.")
    ],
    network: o.Network = None,
    weights: Annotated[
        Path | None, o.option(o.NETWORK, "FILE", "Weights of the original network.")
    ] = None,
    pruned: Annotated[
        Path | None, o.option(o.NETWORK, "FILE", "The small network: pruned.safetensors of a run.")
    ] = None,
    data: o.Data = None,
    data_dir: o.DataDir = None,
    download: o.Download = None,
    certification_samples: Annotated[
        int | None,
        o.option(
            o.CERTIFICATE, "N", "Samples that were drawn [default: as many as the certificate has]."
        ),
    ] = None,
    seed: o.Seed = None,
    config: o.Config = None,
    quiet: o.Quiet = False,
) -> None:
    """Compute a certificate again from the networks and the samples, and compare every entry.

    The exit code is 0 if the certificate is what was found, and 1 with a list of the differences if
    it is not. Give the seed that the certificate was made with, as it chooses the samples.
    """
    given = {
        "network": network, "weights": weights, "pruned": pruned, "data": data,
        "certification_samples": certification_samples,
        "data_dir": data_dir, "download": download, "seed": seed,
    }  # fmt: skip
    settings = resolve(VerifyConfig, config, given)
    require_file(certificate, option="CERTIFICATE")
    text = read_text(certificate)
    stated = certificate_of(certificate_data(text))
    if stated.losses:
        raise InputError(
            f"{certificate}: it bounds losses of its maker's own, which have to be given as "
            "functions; use prunella.verify_certificate from Python."
        )
    find_network(settings.network)
    require_file(settings.weights, option="--weights")
    progress = progress_for_people(quiet=quiet)
    speaker = Speaker(quiet=quiet)
    with interruptible("Nothing was written; run the same command again."):
        plan = load_plan(settings.pruned)
        count = settings.certification_samples or stated.n
        samples, _ = certification_part(settings, count, seed=settings.seed, progress=progress)
        model = build_network(settings.network, settings.network_args, samples)
        load_weights(settings.weights, model)
        require_fit(model, samples)
        result = verify_certificate(
            text,
            model,
            load(settings.pruned, model),
            samples.loader(settings.batch_size),
            layers=plan,
            # A search counts the samples of its certificate among those that informed the plan.
            used=() if stated.choice is not None else (plan.samples,),
            progress=progress,
        )
    speaker.verification(result)
    if not result.matches:
        raise typer.Exit(1)
