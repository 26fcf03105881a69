"""What all kinds of `prunella train` have in common: the directory, resuming, and the loop."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

from torch import nn

from prunella.cli.config import TaskConfig, TrainConfig
from prunella.cli.rundir import (
    CONFIG,
    check_same_config,
    choose_directory,
    run_in,
    stages_left,
    write_config,
)
from prunella.cli.say import Speaker
from prunella.files import save_weights, write_atomically
from prunella.files.stages import StageFiles
from prunella.pipeline.reporting import environment
from prunella.retrain import Checkpoint, EpochRecord, Objective, Validation, fit
from prunella.terminal import progress_for_people

WEIGHTS = "weights.safetensors"
METRICS = "metrics.json"


@final
class TrainingRun:
    """One run of `prunella train` in its directory."""

    def __init__(
        self,
        settings: TrainConfig | TaskConfig,
        out: Path | None,
        *,
        resume: bool,
        quiet: bool,
        files: Mapping[str, str],
    ) -> None:
        """Choose the directory; nothing is made yet.

        Args:
            settings: The resolved configuration.
            out: Where to, if the user has said so.
            resume: Whether the user wants to go on.
            quiet: Print nothing but paths.
            files: Names of the files that will be written besides the configuration, and what they
                are.

        Raises:
            InputError: the directory holds another run.
        """
        self.settings = settings
        self.directory = choose_directory(out, command="train", resume=resume)
        check_same_config(self.directory, settings)
        self.speaker = Speaker(quiet=quiet)
        self.progress = progress_for_people(quiet=quiet)
        self.stages = StageFiles(self.directory)
        names = {**files, CONFIG: "the resolved configuration"}
        self.written = {self.directory / name: what for name, what in names.items()}

    def say_finished(self) -> bool:
        """Whether there is nothing left to do; if so, say it and where the files are."""
        if stages_left(self.directory) or not all(path.exists() for path in self.written):
            return False
        self.speaker.say("This run is finished.")
        self.speaker.files(self.written)
        return True

    @contextmanager
    def working(self) -> Iterator[None]:
        """Do the work; what only an unfinished run needs is removed when it is done."""
        with run_in(self.directory, command="train", epochs=self.settings.recipe.epochs):
            yield
            self.stages.clear()

    def fit(
        self,
        model: nn.Module,
        loader: Iterable[object],
        *,
        objective: Objective | None = None,
        validation: Validation | None = None,
    ) -> tuple[EpochRecord, ...]:
        """Write the configuration, and train from where an earlier run stopped."""
        write_config(self.directory, self.settings)
        self.speaker.stage("training")
        recipe = self.settings.recipe

        def after_epoch(checkpoint: Checkpoint) -> None:
            self.stages.save_training(checkpoint)
            self.speaker.epoch(checkpoint.records[-1], epochs=recipe.epochs)

        return fit(
            model,
            loader,
            recipe,
            seed=self.settings.seed,
            objective=objective,
            validation=validation,
            resume=self.stages.load_training(),
            on_epoch=after_epoch,
            progress=self.progress,
        )

    def write(
        self, model: nn.Module, found: Mapping[str, Any], records: Sequence[EpochRecord]
    ) -> None:
        """Write the weights, and what was found with their hash and the course of training."""
        weights = self.directory / WEIGHTS
        save_weights(weights, model)
        content = {
            **found,
            "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
            "epochs": [record.to_json() for record in records],
            "environment": environment(),
        }
        write_atomically(self.directory / METRICS, json.dumps(content, indent=2) + "\n")
