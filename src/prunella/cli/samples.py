"""Samples named on the command line, divided for the purposes of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from prunella.cli.config import DataConfig
from prunella.cli.networks import load_object
from prunella.core.errors import DataError, InputError
from prunella.core.progress import Progress
from prunella.data import ImageSet, bundled
from prunella.data import load as load_data
from prunella.data.known import Split


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Parts:
    """Disjoint samples for the purposes of `prune`.

    Attributes:
        calibration: Training samples that score the channels.
        retraining: Training samples to retrain on; may include those of calibration.
        certification: Test samples, used for nothing but the certificate.
        evaluation: Test samples for the accuracy at each stage.
    """

    calibration: ImageSet
    retraining: ImageSet
    certification: ImageSet
    evaluation: ImageSet


def read_split(config: DataConfig, split: Split, progress: Progress) -> ImageSet:
    """The training or the test samples.

    `package.module:factory` is called with "train" or "test" and must return an `ImageSet`.
    """
    name = config.data
    if ":" in name and not name.startswith("imagefolder:"):
        samples = load_object(name, what="data")(split)
        if not isinstance(samples, ImageSet):
            raise InputError(
                f"data {name!r}: the factory returned {type(samples).__name__} for {split!r}, "
                "expected a prunella.data.ImageSet."
            )
        return samples
    directory = None if config.data_dir is None else Path(config.data_dir)
    return load_data(name, split, data_dir=directory, download=config.download, progress=progress)


def certification_part(
    config: DataConfig, samples: int, *, seed: int, progress: Progress
) -> tuple[ImageSet, ImageSet]:
    """Certification samples, drawn at random from the test samples, and the other test samples."""
    if config.data == "bundled":
        held_out, rest = bundled("certification"), bundled("test")
        _require(len(held_out) >= samples, samples, len(held_out), "bundled certification")
        return held_out.subset(range(samples)), rest
    test = read_split(config, "test", progress)
    _require(len(test) > samples, samples, len(test), "test")
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(seed))
    return test.subset(order[:samples]), test.subset(order[samples:])


def divide(
    config: DataConfig,
    *,
    calibration: int,
    retraining: int,
    certification: int,
    seed: int,
    progress: Progress,
) -> Parts:
    """Divide the samples of a data set for a run of `prune`; every draw depends on the seed."""
    train = read_split(config, "train", progress)
    held_out, rest = certification_part(config, certification, seed=seed, progress=progress)
    _require(len(train) >= calibration, calibration, len(train), "training")
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
    return Parts(
        calibration=train.subset(order[:calibration]),
        retraining=train.subset(order[:retraining]),
        certification=held_out,
        evaluation=rest,
    )


def _require(enough: bool, wanted: int, found: int, what: str) -> None:
    if not enough:
        raise DataError(
            f"{wanted:,} samples were asked for but there are only {found:,} {what} samples; "
            "ask for fewer."
        )
