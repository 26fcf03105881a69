"""What a run keeps between its stages, so that it can go on after an interruption."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, final

from torch import Tensor

from prunella.core.errors import FileError
from prunella.core.samples import SampleIds
from prunella.core.types import ChannelScores
from prunella.files.weights import read_tensors, save_tensors
from prunella.retrain import Checkpoint, EpochRecord

_SCORES = "scores.safetensors"
_TRAINING = "training.safetensors"


@final
class StageFiles:
    """Scores and training checkpoints of one run, in its directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def save_scores(self, scores: ChannelScores) -> None:
        """Write the scores, atomically."""
        tensors = {
            **_prefixed("values", scores.by_group),
            **_prefixed("filter_norms", scores.filter_norms),
        }
        header = {
            "method": scores.method,
            "sums": json.dumps(dict(scores.sums)),
            "samples": json.dumps(scores.samples.to_json()),
        }
        save_tensors(self.directory / _SCORES, tensors, header)

    def load_scores(self) -> ChannelScores | None:
        """The scores of an earlier, interrupted run; None if it had not come so far."""
        path = self.directory / _SCORES
        if not path.exists():
            return None
        tensors, header = read_tensors(path)
        try:
            return ChannelScores(
                method=header["method"],
                by_group=_part("values", tensors),
                filter_norms=_part("filter_norms", tensors),
                sums=json.loads(header["sums"]),
                samples=SampleIds.from_json(json.loads(header["samples"])),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise FileError(f"{path}: damaged ({error!r}); remove it and run again.") from None

    def save_training(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, atomically."""
        tensors = {
            **_prefixed("model", checkpoint.model),
            **_prefixed("momentum", checkpoint.momentum),
        }
        records = json.dumps([asdict(record) for record in checkpoint.records])
        save_tensors(self.directory / _TRAINING, tensors, {"records": records})

    def load_training(self) -> Checkpoint | None:
        """The last checkpoint of an earlier, interrupted run; None if there is none."""
        path = self.directory / _TRAINING
        if not path.exists():
            return None
        tensors, header = read_tensors(path)
        try:
            records = tuple(EpochRecord(**_record(row)) for row in json.loads(header["records"]))
        except (KeyError, TypeError, ValueError) as error:
            raise FileError(f"{path}: damaged ({error!r}); remove it and run again.") from None
        return Checkpoint(
            epoch=len(records),
            model=_part("model", tensors),
            momentum=_part("momentum", tensors),
            records=records,
        )

    def clear(self) -> None:
        """Remove what only an interrupted run needs."""
        for name in (_SCORES, _TRAINING):
            (self.directory / name).unlink(missing_ok=True)


def _record(row: Any) -> dict[str, Any]:
    return {str(key): value for key, value in dict(row).items()}


def _prefixed(kind: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{kind}/{name}": tensor for name, tensor in tensors.items()}


def _part(kind: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    prefix = f"{kind}/"
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
