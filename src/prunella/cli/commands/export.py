"""`prunella export`."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from torch import nn

from prunella.cli import options as o
from prunella.cli.config import ExportConfig, PruneConfig, resolve
from prunella.cli.helping import examples
from prunella.cli.interrupts import interruptible
from prunella.cli.networks import build_network, find_network, require_fit
from prunella.cli.rundir import CONFIG, require_file, require_writable
from prunella.cli.samples import read_split
from prunella.cli.say import Speaker
from prunella.core.batches import read_batch
from prunella.core.errors import InputError
from prunella.core.inputs import Inputs
from prunella.core.progress import Progress
from prunella.core.results import RunTimes
from prunella.exporting import (
    ExportCheck,
    compare_onnx_latency,
    onnx_latency,
    require_onnx,
)
from prunella.exporting import export as export_network
from prunella.files import load, load_weights
from prunella.files.models import load_plan
from prunella.terminal import progress_for_people

EXAMPLES = examples(
    "# Both formats, into the directory of the run:",
    "prunella export runs/r20-small",
    "\n# One format, into another folder:",
    "prunella export runs/r20-small --format onnx --out deploy",
    "\n# A file without its run; --weights adds the original's sizes and times:",
    "prunella export pruned.safetensors --network resnet20 --data fashion-mnist \\\n"
    "    --weights weights.safetensors",
)
_PRUNED = "pruned.safetensors"
_SAMPLES = 64
_RUNS = 30


def export(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", help=f"Directory of a run of prune, or its {_PRUNED}."),
    ],
    network: o.Network = None,
    weights: Annotated[
        Path | None,
        o.option(o.NETWORK, "FILE", "Weights of the original network, to compare with it."),
    ] = None,
    data: o.Data = None,
    data_dir: o.DataDir = None,
    download: o.Download = None,
    file_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="onnx, for ONNX Runtime and others; pt2, for torch.export.load; or both. "
            f"[default: {o.default_of(ExportConfig, 'format')}]",
            rich_help_panel=o.RUN,
        ),
    ] = None,
    config: o.Config = None,
    out: Annotated[
        Path | None,
        o.option(o.RUN, "FOLDER", "For the files.", default="beside the small network"),
    ] = None,
    quiet: o.Quiet = False,
) -> None:
    """Write a small network as ONNX and .pt2 files, each checked against the network.

    The files take batches of any size. Before a file gets its name it is run on test samples and
    must give the outputs of the network, up to rounding; a file of that name is replaced only
    then. Prints the largest difference, sizes, and run times in ONNX Runtime before and after.

    Network, data and the original's weights are those in the run's config.yaml; options override
    them. ONNX files need: pip install 'prunella[onnx]'
    """
    given = {
        "network": network, "weights": weights, "data": data, "data_dir": data_dir,
        "download": download, "format": file_format,
    }  # fmt: skip
    pruned = run / _PRUNED if run.is_dir() else run
    settings = _settings(run, pruned, config, given)
    formats = ("onnx", "pt2") if settings.format == "both" else (settings.format,)
    targets = _targets(pruned, out, formats)
    find_network(settings.network)
    if weights is not None:
        require_file(weights, option="--weights")
    if "onnx" in formats:
        require_onnx()
    speaker = Speaker(quiet=quiet)
    progress = progress_for_people(quiet=quiet)
    with interruptible("All files written so far are whole; run the same command again."):
        load_plan(pruned)  # first, because reading the data may take a while
        samples = read_split(settings, "test", progress)
        samples = samples.subset(range(min(_SAMPLES, len(samples))))
        model = build_network(settings.network, settings.network_args, samples)
        small = load(pruned, model)
        require_fit(small, samples)
        original = _original(model, settings.weights)
        inputs = read_batch(next(iter(samples.loader(len(samples))))).inputs
        written = [_write(small, inputs, target, speaker) for target in targets]
        with tempfile.TemporaryDirectory() as folder:
            originals = _write_same(original, inputs, written, Path(folder), speaker)
            latency = _latency(originals, written, inputs, settings.latency_batches, progress)
    speaker.say("")
    speaker.exported(list(zip(originals, written, strict=True)), latency, runs=_RUNS)
    if originals[0] is None:
        speaker.note(_why_no_original(settings.weights))
    speaker.files({check.path: _what(check.path) for check in written})


def _settings(
    run: Path, pruned: Path, config: Path | None, given: Mapping[str, Any]
) -> ExportConfig:
    """From options, and from --config or the configuration of the run."""
    if run.is_dir() and not pruned.exists():
        raise InputError(
            f"{run}: holds no {_PRUNED}; give the directory of a finished run of prune, or the "
            "file of a small network."
        )
    require_file(pruned, option="RUN")
    if config is not None or not (run / CONFIG).exists():
        return resolve(ExportConfig, config, given)
    shared = PruneConfig.model_fields.keys() & ExportConfig.model_fields.keys()
    options = {name: value for name, value in given.items() if value is not None}
    of_run = resolve(PruneConfig, run / CONFIG, {n: options[n] for n in shared & options.keys()})
    return resolve(ExportConfig, None, {n: getattr(of_run, n) for n in shared} | options)


def _targets(pruned: Path, out: Path | None, formats: tuple[str, ...]) -> list[Path]:
    folder = pruned.parent if out is None else out
    if folder.suffix in (".onnx", ".pt2") or folder.is_file():
        raise InputError(
            f"--out {folder}: give a folder; the files in it are called after the small network, "
            f"here {' and '.join(f'{pruned.stem}.{name}' for name in formats)}."
        )
    require_writable(folder, option="--out")
    return [folder / f"{pruned.stem}.{name}" for name in formats]


def _write(model: nn.Module, inputs: Inputs, target: Path, speaker: Speaker) -> ExportCheck:
    speaker.stage(f"writing and checking {target.name}")
    return export_network(model, inputs.args, target, keywords=inputs.kwargs)


def _original(model: nn.Module, weights: Path | None) -> nn.Module | None:
    """The model with the original's weights, if they are known."""
    if weights is None or not weights.is_file():
        return None
    load_weights(weights, model)
    return model


def _write_same(
    original: nn.Module | None,
    inputs: Inputs,
    written: list[ExportCheck],
    folder: Path,
    speaker: Speaker,
) -> list[ExportCheck] | list[None]:
    """The original in the same formats."""
    if original is None:
        return [None] * len(written)
    speaker.stage("the same with the original, for comparison")
    return [
        export_network(original, inputs.args, folder / check.path.name, keywords=inputs.kwargs)
        for check in written
    ]


def _latency(
    originals: list[ExportCheck] | list[None],
    written: list[ExportCheck],
    inputs: Inputs,
    batches: tuple[int, ...],
    progress: Progress,
) -> Mapping[int, RunTimes | tuple[float, float, float]]:
    """Run times of the ONNX files by batch size; empty if there is none."""
    options: dict[str, Any] = {
        "keywords": inputs.kwargs, "batches": batches, "runs": _RUNS, "progress": progress,
    }  # fmt: skip
    for before, after in zip(originals, written, strict=True):
        if after.opset is None:
            continue
        if before is None:
            return onnx_latency(after.path, inputs.args, **options)
        pairs = compare_onnx_latency(before.path, after.path, inputs.args, **options)
        return {pair.batch: pair for pair in pairs}
    return {}


def _why_no_original(weights: Path | None) -> str:
    if weights is None:
        return "Nothing is shown of the original; name its weights with --weights."
    return (
        f"Nothing is shown of the original, because its weights {weights} are not there; name "
        "them with --weights."
    )


def _what(path: Path) -> str:
    if path.suffix == ".onnx":
        return "for ONNX Runtime and other programs that read ONNX"
    return "for torch.export.load"
