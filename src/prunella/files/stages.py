"""What a run keeps between its stages, so that it can go on after an interruption."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from torch import Tensor

from prunella.core.errors import FileError
from prunella.core.jsontext import read_json
from prunella.core.samples import SampleIds
from prunella.core.types import ChannelScores
from prunella.core.words import one_line, shown
from prunella.files.fields import entries, entry, items, number, whole
from prunella.files.passes import PassFile
from prunella.files.weights import read_tensors, save_tensors
from prunella.retrain import Checkpoint, EpochRecord

_PASS = "scoring.safetensors"
_SCORES = "scores.safetensors"
_TRAINING = "training.safetensors"
# What optimisers keep of a parameter, and under which name it is stored.
_PIECES = {
    "momentum_buffer": "momentum",
    "step": "step",
    "square_avg": "square_avg",
    "exp_avg": "exp_avg",
    "exp_avg_sq": "exp_avg_sq",
}
_EVERY_S = 30.0  # of scoring, at most, are lost with a run that is killed


@final
class StageFiles:
    """Scores, on the way and complete, and training checkpoints of one run, in its directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def scoring(self) -> PassFile:
        """The file of an unfinished pass that scores."""
        return PassFile(self.directory / _PASS, every_s=_EVERY_S)

    def save_scores(self, scores: ChannelScores) -> None:
        """Write the scores, atomically; the state of the pass that made them goes."""
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
        self.scoring().clear()

    def load_scores(self) -> ChannelScores | None:
        """The scores of an earlier, interrupted run; None if it had not come so far."""
        path = self.directory / _SCORES
        if not path.exists():
            return None
        tensors, header = read_tensors(path)
        try:
            return ChannelScores(
                method=header["method"],
                by_group=_scores("values", tensors),
                filter_norms=_scores("filter_norms", tensors),
                sums=entries(read_json(header["sums"]), "sums", whole),
                samples=SampleIds.from_json(read_json(header["samples"])),
            )
        except (KeyError, ValueError) as error:
            raise _damaged(path, error) from None

    def save_training(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint, atomically."""
        tensors = {
            **_prefixed("model", checkpoint.model),
            **_prefixed("best", checkpoint.best),
        }
        for piece, of_parameters in checkpoint.optimizer.items():
            tensors |= _prefixed(_PIECES[piece], of_parameters)
        records = json.dumps([record.to_json() for record in checkpoint.records])
        save_tensors(self.directory / _TRAINING, tensors, {"records": records})

    def load_training(self) -> Checkpoint | None:
        """The last checkpoint of an earlier, interrupted run; None if there is none."""
        path = self.directory / _TRAINING
        if not path.exists():
            return None
        tensors, header = read_tensors(path)
        try:
            rows = items(read_json(header["records"]), "records")
            records = tuple(_record(row, f"records[{i}]") for i, row in enumerate(rows))
        except (KeyError, ValueError) as error:
            raise _damaged(path, error) from None
        return Checkpoint(
            epoch=len(records),
            model=_part("model", tensors),
            optimizer={
                piece: kept for piece, name in _PIECES.items() if (kept := _part(name, tensors))
            },
            records=records,
            best=_part("best", tensors),
        )

    def clear(self) -> None:
        """Remove what only an interrupted run needs."""
        for name in (_PASS, _SCORES, _TRAINING):
            (self.directory / name).unlink(missing_ok=True)


def _damaged(path: Path, error: Exception) -> FileError:
    return FileError(f"{path}: damaged ({one_line(error)}); remove it and run again.")


def _record(row: Any, where: str) -> EpochRecord:
    return EpochRecord(
        epoch=whole(entry(row, "epoch", where), f"{where}.epoch", least=1),
        loss=number(entry(row, "loss", where), f"{where}.loss"),
        accuracy=_any_number(entry(row, "accuracy", where), f"{where}.accuracy"),
        learning_rate=number(entry(row, "learning_rate", where), f"{where}.learning_rate"),
        figures=entries(row.get("figures", {}), f"{where}.figures", _any_number),
        held_out=entries(row.get("held_out", {}), f"{where}.held_out", _any_number),
    )


def _any_number(value: Any, where: str) -> float:
    """A number, or NaN for one that is unknown or beyond all bounds."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return math.nan
    return number(value, where)


def _prefixed(kind: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{kind}/{name}": tensor for name, tensor in tensors.items()}


def _part(kind: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    prefix = f"{kind}/"
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _scores(kind: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    parts = _part(kind, tensors)
    for name, scores in parts.items():
        fits = scores.ndim == 1 and scores.dtype.is_floating_point
        if not fits or not bool((scores.isfinite() & (scores >= 0)).all()):
            raise ValueError(f"the {kind} of {shown(name)} are not numbers from 0 up, one for each")
    return parts
