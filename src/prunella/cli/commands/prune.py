"""`prunella prune`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import nn

from prunella.cli import options as o
from prunella.cli.config import PruneConfig, resolve, to_yaml
from prunella.cli.helping import examples
from prunella.cli.invocation import command_line
from prunella.cli.networks import build_network, find_network, require_fit
from prunella.cli.outcome import has_network, outcome_files, write_outcome
from prunella.cli.rundir import (
    check_same_config,
    choose_directory,
    require_file,
    run_in,
    stages_left,
    write_config,
)
from prunella.cli.samples import divide
from prunella.cli.say import Speaker
from prunella.cli.sizes import delta_of, how_small
from prunella.cli.stages import SpokenStages
from prunella.core.budgets import Latency
from prunella.core.errors import BudgetError, GraphError
from prunella.files import load_weights
from prunella.files.stages import StageFiles
from prunella.methods import METHODS
from prunella.methods import method as method_named
from prunella.pipeline import PruneResult, smallest
from prunella.pipeline import prune as prune_network
from prunella.pipeline.samples import first_sample
from prunella.terminal import progress_for_people
from prunella.tracing import trace

EXAMPLES = examples(
    "prunella prune --network resnet20 --weights runs/r20/weights.safetensors \\\n"
    "    --data fashion-mnist --params 0.4 --out runs/r20-small",
    "\n# How small can it be, if it may lose half a percentage point of accuracy?",
    "prunella prune --network resnet20 --weights runs/r20/weights.safetensors \\\n"
    "    --data fashion-mnist --max-drop 0.5% --confidence 99% \\\n"
    "    --certification-samples 8000 --out runs/r20-smallest",
    "\n# The same run again, with another budget:",
    "prunella prune --config runs/r20-small/config.yaml --params 0.3",
    "\n# A network and data of your own, in mine.py of this folder:",
    "prunella prune --network mine:network --weights mine.pt --data mine:samples \\\n"
    "    --flops 0.5",
)

NAMED = {"Methods": {method.name: method.summary for method in METHODS.values()}}

_OF_TRACE = ("include", "exclude", "equal_layers", "through_norms")


def prune(
    context: typer.Context,
    network: o.Network = None,
    weights: Annotated[
        Path | None,
        o.option(
            o.NETWORK,
            "FILE",
            "Weights of the trained network: .safetensors, or a state dictionary for "
            "torch.load(weights_only=True).",
        ),
    ] = None,
    data: o.Data = None,
    data_dir: o.DataDir = None,
    download: o.Download = None,
    params: Annotated[
        float | None,
        o.option(
            o.SIZE, "FRACTION", "0.4 keeps at most 40 % of the parameters; or give another budget."
        ),
    ] = None,
    flops: Annotated[
        float | None, o.option(o.SIZE, "FRACTION", "0.5 keeps at most 50 % of the multiply-adds.")
    ] = None,
    bytes_: Annotated[
        float | None,
        o.option(o.SIZE, "FRACTION", "0.5 keeps at most 50 % of the bytes.", name="--bytes"),
    ] = None,
    latency: Annotated[
        float | None,
        o.option(
            o.SIZE,
            "FRACTION",
            "0.6 runs in at most 60 % of the time: cut networks are timed on this device, which "
            "should have nothing else to do.",
        ),
    ] = None,
    latency_batch: Annotated[
        int | None,
        o.option(
            o.SIZE,
            "N",
            "Samples run at once in that timing.",
            default=o.default_of(PruneConfig, "latency_batch"),
        ),
    ] = None,
    max_drop: Annotated[
        str | None,
        o.option(
            o.SIZE,
            "SHARE",
            "Instead of a budget: 0.5% finds the smallest network whose accuracy on new samples "
            "falls by at most half a percentage point, with --confidence.",
        ),
    ] = None,
    max_disagreement: Annotated[
        str | None,
        o.option(
            o.SIZE,
            "SHARE",
            "The same for answers: 2% finds the smallest network that names another class than "
            "the original for at most 2 % of new samples.",
        ),
    ] = None,
    smallest_in: Annotated[
        str | None,
        o.option(
            o.SIZE,
            "UNIT",
            "What that network has least of: params, flops or bytes.",
            default=o.default_of(PruneConfig, "smallest_in"),
        ),
    ] = None,
    selection_samples: Annotated[
        int | None,
        o.option(
            o.SIZE,
            "N",
            "At most so many training samples, which nothing else uses, guess where that search "
            "may begin.",
            default=o.default_of(PruneConfig, "selection_samples"),
        ),
    ] = None,
    method: Annotated[
        str | None,
        o.option(
            o.SIZE,
            "NAME",
            "How channels are scored and chosen; the methods are listed below.",
            default=o.default_of(PruneConfig, "method"),
        ),
    ] = None,
    include: Annotated[
        list[str] | None,
        o.option(
            o.SIZE,
            "MODULE",
            "Remove channels of this module only; wildcards allowed, may be given several times.",
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        o.option(o.SIZE, "MODULE", "Keep all channels of this module; the same way."),
    ] = None,
    equal_layers: Annotated[
        bool,
        o.flag(
            o.SIZE,
            "--equal-layers",
            "Keep equal numbers of channels in layers whose names differ in a number only, as a "
            "network needs that is built from one configuration.",
        ),
    ] = False,
    through_norms: Annotated[
        bool,
        o.flag(
            o.SIZE,
            "--through-norms",
            "Remove channels that a layer norm mixes, too; the small network is then not the "
            "masked one and needs retraining.",
        ),
    ] = False,
    multiple: Annotated[
        int | None,
        o.option(
            o.SIZE,
            "N",
            "Keep multiples of this many channels; 8 suits CPUs, 1 is finest.",
            default=o.default_of(PruneConfig, "multiple"),
        ),
    ] = None,
    calibration_samples: Annotated[
        int | None,
        o.option(
            o.SIZE,
            "N",
            "Training samples that score the channels.",
            default=o.default_of(PruneConfig, "calibration_samples"),
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        o.option(
            o.TRAINING,
            "N",
            "Passes of retraining after the cut; 0 for none, as in a search for the smallest "
            "network unless it is given.",
            default=o.default_of(PruneConfig, "recipe.epochs"),
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        o.option(
            o.TRAINING,
            "RATE",
            "Highest learning rate.",
            default=o.default_of(PruneConfig, "recipe.learning_rate"),
        ),
    ] = None,
    retraining_samples: Annotated[
        int | None,
        o.option(
            o.TRAINING,
            "N",
            "At most so many training samples; 2000 in a search for the smallest network.",
            default=o.default_of(PruneConfig, "retraining_samples"),
        ),
    ] = None,
    certification_samples: o.CertificationSamples = None,
    alpha: o.Alpha = None,
    delta: o.Delta = None,
    confidence: Annotated[
        str | None,
        o.option(o.CERTIFICATE, "SHARE", "The same the other way round: 99% is --delta 0.01."),
    ] = None,
    per_class: o.PerClass = False,
    per_layer: o.PerLayer = False,
    top_k: o.TopK = None,
    seed: o.Seed = None,
    config: o.Config = None,
    out: o.Out = None,
    resume: o.Resume = False,
    quiet: o.Quiet = False,
) -> None:
    """Make a trained network small, and certify how far the small one can be trusted.

    The channels that matter least are removed, the rest is retrained towards the outputs of the
    original, and both networks are compared on test samples that nothing else has used.

    How small is up to you (--params and the like), or found out (--max-drop): candidates are tested
    from large to small on the test samples until one fails, and the last that passed is the result.
    If none passes, the original stays, and the exit code is 1.

    Writes pruned.safetensors (the small network with its plan), certificate.json, report.html,
    report.json and config.yaml. An interrupted run goes on with --resume.
    """
    given = {
        "network": network, "weights": weights, "data": data, "params": params, "flops": flops,
        "bytes": bytes_, "latency": latency, "latency_batch": latency_batch,
        "include": include or None, "exclude": exclude or None,
        "equal_layers": equal_layers or None, "through_norms": through_norms or None,
        "method": method, "multiple": multiple, "recipe.epochs": epochs,
        "recipe.learning_rate": learning_rate, "calibration_samples": calibration_samples,
        "retraining_samples": retraining_samples, "certification_samples": certification_samples,
        "max_drop": max_drop, "max_disagreement": max_disagreement, "smallest_in": smallest_in,
        "selection_samples": selection_samples,
        "alpha": alpha, "delta": delta_of(delta, confidence),
        "per_class": per_class or None, "per_layer": per_layer or None, "top_k": top_k,
        "data_dir": data_dir, "download": download, "seed": seed,
    }  # fmt: skip
    settings = resolve(PruneConfig, config, given)
    tolerance = settings.tolerance
    size = how_small(settings)
    method_named(settings.method)
    directory = choose_directory(out, command="prune", resume=resume)
    check_same_config(directory, settings)
    find_network(settings.network)
    require_file(settings.weights, option="--weights")
    speaker = Speaker(quiet=quiet)
    stages = StageFiles(directory)
    if outcome_files(directory) and not stages_left(directory):
        speaker.say("This run is finished.")
        speaker.files(outcome_files(directory))
        if not has_network(directory):
            raise typer.Exit(1)
        return
    progress = progress_for_people(quiet=quiet)
    with run_in(directory, command="prune", epochs=settings.recipe.epochs):
        parts = divide(
            settings,
            calibration=settings.calibration_samples,
            retraining=settings.retraining_samples,
            certification=settings.certification_samples,
            selection=settings.selection_samples if tolerance else 0,
            seed=settings.seed,
            progress=progress,
        )
        model = build_network(settings.network, settings.network_args, parts.calibration)
        load_weights(settings.weights, model)
        require_fit(model, parts.calibration)
        write_config(directory, settings)
        # Its own generator, because the global one depends on which stages a resumed run skips.
        shuffler = torch.Generator().manual_seed(settings.seed)
        result = _pruned(
            speaker,
            model,
            parts.calibration.loader(settings.batch_size),
            **size,
            **({"selection": parts.selection.loader(250)} if len(parts.selection) else {}),
            certification=parts.certification.loader(250),
            evaluation=parts.evaluation.loader(250),
            retraining=parts.retraining.loader(
                settings.batch_size, shuffle=True, generator=shuffler
            ),
            recipe=settings.recipe,
            include=settings.include,
            exclude=settings.exclude,
            equal_layers=settings.equal_layers,
            through_norms=settings.through_norms,
            method=settings.method,
            multiple=settings.multiple,
            latency_batches=_timed(settings),
            robustness_samples=settings.robustness_samples,
            delta=settings.delta,
            per_class=settings.per_class,
            per_layer=settings.per_layer,
            top_k=settings.top_k,
            seed=settings.seed,
            progress=progress,
            stages=SpokenStages(stages, speaker, epochs=settings.recipe.epochs),
            on_stage=speaker.stage,
        )
        speaker.stage("writing the results")
        written = write_outcome(
            directory,
            result,
            title=f"{settings.network} on {parts.calibration.name}",
            command=command_line(context.obj),
            config=to_yaml(settings),
        )
        stages.clear()
    speaker.outcome(result)
    speaker.files(written)
    if result.walk is not None and result.walk.chosen is None:
        raise typer.Exit(1)


def _timed(settings: PruneConfig) -> tuple[int, ...]:
    """The batch sizes to measure run times at, that of a latency budget among them."""
    batches = settings.latency_batches
    if settings.tolerance is not None or not isinstance(settings.budget, Latency):
        return batches
    return tuple(sorted({*batches, settings.budget.batch}))


def _pruned(
    speaker: Speaker, model: nn.Module, calibration: Iterable[object], **options: Any
) -> PruneResult:
    """As `prunella.prune`; where nothing can be removed, or not enough, every layer is listed.

    With a risk instead of a budget as `prunella.smallest`.
    """
    try:
        if "risk" in options:
            return smallest(model, calibration, **options)
        return prune_network(model, calibration, **options)
    except (BudgetError, GraphError):
        chosen = {name: options[name] for name in _OF_TRACE}
        speaker.left_whole(trace(model, first_sample(calibration), **chosen))
        raise
