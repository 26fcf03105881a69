"""`prunella demo`."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated

import typer

from prunella.cli import options as o
from prunella.cli.config import PruneConfig, to_yaml
from prunella.cli.helping import examples
from prunella.cli.interrupts import interruptible
from prunella.cli.invocation import command_line
from prunella.cli.outcome import write_outcome
from prunella.cli.rundir import CONFIG, choose_directory
from prunella.cli.say import Speaker
from prunella.core.errors import FileError
from prunella.data import bundled
from prunella.files import load_weights, write_atomically
from prunella.files.atomic import read_text
from prunella.networks import resnet20
from prunella.pipeline import prune
from prunella.report import from_json
from prunella.retrain import Recipe
from prunella.terminal import progress_for_people

SETTINGS = PruneConfig(
    network="resnet20",
    data="bundled",
    weights=Path("resnet20.safetensors"),
    params=0.43,
    multiple=16,
    calibration_samples=256,
    retraining_samples=2_400,
    certification_samples=2_000,
    recipe=Recipe(epochs=6, learning_rate=0.01, flip=True),
)

EXAMPLES = examples("prunella demo", "prunella demo --out somewhere/else --quiet")
_TITLE = "resnet20 on Fashion-MNIST"


def demo(
    context: typer.Context,
    out: Annotated[
        Path, o.option(o.RUN, "FOLDER", "For all files; an earlier demo is replaced.")
    ] = Path("runs/demo"),
    quiet: o.Quiet = False,
) -> None:
    """See a real network made small, in about a minute, on bundled data.

    A ResNet-20 trained on Fashion-MNIST is pruned to at most 43 % of its parameters, retrained on
    2,400 bundled samples, certified on 2,000 others and judged on 2,000 more.
    """
    directory = choose_directory(out, command="demo", resume=_is_demo(out))
    speaker = Speaker(quiet=quiet)
    progress = progress_for_people(quiet=quiet)
    with interruptible("Run the demo again; it starts anew and writes its files at the end."):
        speaker.say("A ResNet-20 trained on Fashion-MNIST, and the bundled samples.")
        model = resnet20(in_channels=1)
        with as_file(files("prunella.networks") / "weights" / "resnet20.safetensors") as path:
            load_weights(path, model)
        calibration = bundled("calibration")
        result = prune(
            model,
            calibration.subset(range(0, len(calibration), len(calibration) // 256)).loader(64),
            budget=SETTINGS.budget,
            certification=bundled("certification").loader(250),
            evaluation=bundled("test").loader(250),
            retraining=calibration.loader(64, shuffle=True),
            recipe=SETTINGS.recipe,
            multiple=SETTINGS.multiple,
            latency_batches=SETTINGS.latency_batches,
            seed=SETTINGS.seed,
            progress=progress,
            on_stage=speaker.stage,
        )
        speaker.stage("writing the results")
        config = to_yaml(SETTINGS)
        write_atomically(directory / CONFIG, config)
        written = write_outcome(
            directory,
            result,
            title=_TITLE,
            command=command_line(context.obj),
            config=config,
        )
    speaker.outcome(result)
    speaker.files(written)


def _is_demo(out: Path) -> bool:
    """Whether the directory holds an earlier demo, which may be replaced, and no other run."""
    try:
        if (out / "report.json").exists():
            return from_json(read_text(out / "report.json")).title == _TITLE
        lines = read_text(out / CONFIG).splitlines()  # of a demo stopped while it wrote its files
    except FileError:
        return False
    return {f"weights: {SETTINGS.weights}", f"data: {SETTINGS.data}"} <= set(lines)
