"""Samples named on the command line, divided for the purposes of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from prunella.cli.config import DataConfig
from prunella.cli.networks import AnySet, call_own, load_object
from prunella.core.batches import read_batch
from prunella.core.errors import DataError, InputError
from prunella.core.progress import Progress
from prunella.data import ImageSet, bundled
from prunella.data import load as load_data
from prunella.data.known import Split
from prunella.data.listed import ListedSet


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Parts:
    """Disjoint samples for the purposes of `prune`.

    Attributes:
        calibration: Training samples that score the channels.
        retraining: Training samples to retrain on; may include those of calibration.
        certification: Test samples, used for nothing but the certificate.
        evaluation: Test samples for the accuracy at each stage.
        selection: Training samples used for nothing else; may be empty.
    """

    calibration: AnySet
    retraining: AnySet
    certification: AnySet
    evaluation: AnySet
    selection: AnySet


def read_split(config: DataConfig, split: Split, progress: Progress) -> AnySet:
    """The training or the test samples, at least one.

    `package.module:factory` is called with "train" or "test" and must return an `ImageSet`, or a
    list or data set of samples with labels.
    """
    name = config.data
    samples: AnySet
    if ":" in name and not name.startswith("imagefolder:"):
        factory = load_object(name, what="data")
        samples = _own(call_own(factory, split, what=f"data {name!r}"), name, split)
    else:
        directory = None if config.data_dir is None else Path(config.data_dir)
        samples = load_data(
            name, split, data_dir=directory, download=config.download, progress=progress
        )
    if not len(samples):
        raise DataError(
            f"data {name!r}: there are no {split} samples; expected at least one. Check the data "
            "set."
        )
    return samples


def _own(returned: object, name: str, split: Split) -> AnySet:
    """What the user's own function has returned, as samples.

    Raises:
        InputError: it is neither an `ImageSet` nor a list of samples with labels.
    """
    if isinstance(returned, ImageSet):
        return returned
    listed = ListedSet.of(f"{name} {split}", returned)
    found = type(returned).__name__
    if listed is not None and len(listed):
        first = next(iter(listed.subset([0]).loader(1)))
        try:
            if read_batch(first).labels is not None:
                return listed
        except DataError as error:
            found += f" whose first sample is unsuitable ({error})"
        else:
            found += " whose first sample has no label"
    elif listed is not None:
        return listed
    raise InputError(
        f"data {name!r}: the factory returned {found} for {split!r}; expected a "
        "prunella.data.ImageSet, or a list or data set of samples with labels: (inputs, label), "
        "((first, second), label), or a dictionary of keyword arguments and 'labels'."
    )


def certification_part(
    config: DataConfig, samples: int, *, seed: int, progress: Progress
) -> tuple[AnySet, AnySet]:
    """Certification samples, drawn at random from the test samples, and the other test samples."""
    if config.data == "bundled":
        held_out, rest = bundled("certification"), bundled("test")
        _require("certification", samples, len(held_out), f"{len(held_out):,} bundled for that")
        return held_out.subset(range(samples)), rest
    test = read_split(config, "test", progress)
    found = f"{len(test):,} test samples, of which at least one must be left to measure accuracy on"
    _require("certification", samples, len(test) - 1, found)
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(seed))
    return test.subset(order[:samples]), test.subset(order[samples:])


def divide(
    config: DataConfig,
    *,
    calibration: int,
    retraining: int,
    certification: int,
    selection: int = 0,
    seed: int,
    progress: Progress,
) -> Parts:
    """Divide the samples of a data set for a run of `prune`; every draw depends on the seed.

    Those for selection are what the other purposes leave of the training samples.
    """
    train = read_split(config, "train", progress)
    held_out, rest = certification_part(config, certification, seed=seed, progress=progress)
    _require("calibration", calibration, len(train), f"{len(train):,} training samples")
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
    return Parts(
        calibration=train.subset(order[:calibration]),
        retraining=train.subset(order[:retraining]),
        certification=held_out,
        evaluation=rest,
        selection=train.subset(order[max(calibration, retraining) :][:selection]),
    )


def _require(purpose: str, wanted: int, available: int, found: str) -> None:
    if wanted > available:
        advice = (
            f"give --{purpose}-samples {available} or less"
            if available > 0
            else "use a larger data set"
        )
        raise DataError(f"--{purpose}-samples {wanted}: there are only {found}; {advice}.")
