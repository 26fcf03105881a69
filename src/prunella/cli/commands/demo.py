"""`prunella demo`."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path
from typing import Annotated

import typer

from prunella.cli.config import PruneConfig, to_yaml
from prunella.cli.outcome import write_outcome
from prunella.cli.rundir import choose_directory, command_line, interruptible
from prunella.cli.say import Speaker
from prunella.data import bundled
from prunella.files import load_weights, write_atomically
from prunella.networks import resnet20
from prunella.pipeline import prune
from prunella.retrain import Recipe
from prunella.terminal import progress_for_people

SETTINGS = PruneConfig(
    network="resnet20",
    data="bundled",
    weights=Path("resnet20.safetensors"),
    params=0.45,
    multiple=8,
    calibration_samples=256,
    retraining_samples=2_400,
    certification_samples=2_000,
    recipe=Recipe(epochs=6, learning_rate=0.02, shift=2, flip=True),
)


def demo(
    out: Annotated[Path, typer.Option(help="Directory for all files.")] = Path("runs/demo"),
    quiet: Annotated[bool, typer.Option(help="Print paths of written files only.")] = False,
) -> None:
    """See a real network made small, in under a minute, on bundled data.

    A ResNet-20 trained on Fashion-MNIST is pruned to at most 45 % of its parameters, retrained on
    2,400 bundled samples, certified on 2,000 others and judged on 2,000 more.
    """
    directory = choose_directory(out, command="demo", resume=_is_demo(out))
    speaker = Speaker(quiet=quiet)
    progress = progress_for_people(quiet=quiet)
    with interruptible("Run the demo again; it starts anew."):
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
        config = to_yaml(SETTINGS)
        write_atomically(directory / "config.yaml", config)
        written = write_outcome(
            directory,
            result,
            title="resnet20 on Fashion-MNIST",
            command=command_line(),
            config=config,
        )
    speaker.outcome(result)
    speaker.files(written)


def _is_demo(out: Path) -> bool:
    """Whether the directory holds an earlier demo, which may be replaced."""
    return (out / "report.json").is_file() and (out / "config.yaml").is_file()
