"""`prunella certify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from prunella.certificate import certify as certify_networks
from prunella.cli import options as o
from prunella.cli.config import CertifyConfig, resolve
from prunella.cli.helping import examples
from prunella.cli.interrupts import interruptible
from prunella.cli.networks import build_network, find_network, require_fit
from prunella.cli.rundir import require_file, require_writable
from prunella.cli.samples import certification_part
from prunella.cli.say import Speaker
from prunella.core.errors import InputError
from prunella.files import load, load_weights, write_atomically
from prunella.files.models import load_plan
from prunella.terminal import progress_for_people

EXAMPLES = examples(
    "prunella certify --network resnet20 --weights runs/r20/weights.safetensors \\\n"
    "    --pruned runs/r20-small/pruned.safetensors --data fashion-mnist \\\n"
    "    --certification-samples 5000",
)


def certify(
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
    certification_samples: o.CertificationSamples = None,
    alpha: o.Alpha = None,
    delta: o.Delta = None,
    per_class: o.PerClass = False,
    per_layer: o.PerLayer = False,
    top_k: o.TopK = None,
    seed: o.Seed = None,
    config: o.Config = None,
    out: Annotated[Path, o.option(o.RUN, "FILE", "A new file, for the certificate.")] = Path(
        "certificate.json"
    ),
    quiet: o.Quiet = False,
) -> None:
    """Bound how far a small network strays from its original, on samples nothing else has used.

    `prunella prune` does this at its end; here it is for other samples, or another confidence.
    """
    given = {
        "network": network, "weights": weights, "pruned": pruned, "data": data,
        "certification_samples": certification_samples, "alpha": alpha, "delta": delta,
        "per_class": per_class or None, "per_layer": per_layer or None, "top_k": top_k,
        "data_dir": data_dir, "download": download, "seed": seed,
    }  # fmt: skip
    settings = resolve(CertifyConfig, config, given)
    if out.exists():
        raise InputError(f"--out {out}: exists already; give another file.")
    require_writable(out.parent, option="--out")
    find_network(settings.network)
    require_file(settings.weights, option="--weights")
    progress = progress_for_people(quiet=quiet)
    speaker = Speaker(quiet=quiet)
    with interruptible("Nothing was written; run the same command again."):
        plan = load_plan(settings.pruned)
        samples, _ = certification_part(
            settings, settings.certification_samples, seed=settings.seed, progress=progress
        )
        model = build_network(settings.network, settings.network_args, samples)
        load_weights(settings.weights, model)
        require_fit(model, samples)
        certificate = certify_networks(
            model,
            load(settings.pruned, model),
            samples.loader(settings.batch_size),
            alpha=settings.alpha,
            delta=settings.delta,
            per_class=settings.per_class,
            top_k=settings.top_k,
            layers=plan if settings.per_layer else None,
            used=(plan.samples,),
            progress=progress,
        )
        write_atomically(out, certificate.to_json() + "\n")
    speaker.certificate(certificate)
    speaker.files({out: "the certificate"})
