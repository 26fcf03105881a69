"""The long stages of a run in its folder, with words on what was done before."""

from __future__ import annotations

from typing import final

from prunella.cli.say import Speaker
from prunella.core.types import ChannelScores
from prunella.files import PassFile
from prunella.files.stages import StageFiles
from prunella.retrain import Checkpoint


@final
class SpokenStages:
    """Keeps the results of the stages, and says how far the retraining has come."""

    def __init__(self, files: StageFiles, speaker: Speaker, *, epochs: int) -> None:
        """Keeps with `files` and tells `speaker`; `epochs` are those of the whole retraining."""
        self.files = files
        self.speaker = speaker
        self.epochs = epochs

    def scoring(self) -> PassFile:
        """Where the scoring pass keeps how far it has come."""
        file = self.files.scoring()
        state = file.load()
        if state is not None:
            self.speaker.say(f"  {state.samples.count:,} samples done before the interruption")
        return file

    def save_scores(self, scores: ChannelScores) -> None:
        """Keep the scores."""
        self.files.save_scores(scores)

    def load_scores(self) -> ChannelScores | None:
        """Scores kept before, if any."""
        scores = self.files.load_scores()
        if scores is not None:
            self.speaker.say("  done before the interruption")
        return scores

    def save_training(self, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint of the retraining."""
        self.files.save_training(checkpoint)
        self.speaker.epoch(checkpoint.records[-1], epochs=self.epochs)

    def load_training(self) -> Checkpoint | None:
        """The checkpoint kept last, if any."""
        checkpoint = self.files.load_training()
        if checkpoint is not None:
            self.speaker.say(f"  {checkpoint.epoch} of {self.epochs} epochs done before")
        return checkpoint
