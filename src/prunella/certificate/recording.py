"""What is written down about each certification sample while both networks run."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prunella.certificate.errors import relative_errors
from prunella.core.batches import Batch, check_labels
from prunella.core.errors import DataError, InputError
from prunella.core.samples import SampleIds, fingerprints


@dataclass(slots=True)
class Seen:
    """Fingerprints of the samples read so far, and how many should not be among them."""

    used: SampleIds
    hashes: list[int] = field(default_factory=list)
    distinct: set[int] = field(default_factory=set)
    overlap: int = 0

    def add(self, batch: Batch) -> bool:
        """Note the samples; True as long as all of them may be used.

        The rest of the loader is still read after the first bad sample, but only to count.
        """
        hashes = fingerprints(*batch.inputs.tensors)
        fresh = set(hashes) - self.distinct
        self.overlap += len(fresh & self.used.hashes)
        self.distinct |= fresh
        self.hashes += hashes
        return not self.repeated and not self.overlap

    @property
    def repeated(self) -> int:
        """Samples that repeat another one."""
        return len(self.hashes) - len(self.distinct)

    @property
    def ids(self) -> SampleIds:
        """All of them."""
        return SampleIds(hashes=frozenset(self.distinct), count=len(self.hashes))

    @property
    def order(self) -> NDArray[np.int64]:  # (n,)
        """The samples by fingerprint: an order that no loader chooses."""
        return np.argsort(np.array(self.hashes, dtype=np.uint64))

    def check(self) -> None:
        """Raise DataError unless the samples are new, distinct, and at least one."""
        if not self.hashes:
            raise DataError(
                "the certification loader yields no samples; expected at least one. "
                "Check the data set, and that the loader is not an iterator already read."
            )
        if self.overlap:
            raise DataError(
                f"{self.overlap} of the {len(self.distinct)} certification samples were already "
                "used to train, calibrate or choose the small network; a bound from them would not "
                "hold. Certify on samples set aside for nothing else."
            )
        if self.repeated:
            raise DataError(
                f"{self.repeated} of the {len(self.hashes)} certification samples repeat another "
                "one; the bounds need independent samples. Remove the duplicates, and check that "
                "the loader samples without replacement and does not pad its last batch."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """Numbers of each sample.

    Attributes:
        original: Top class of the original, (n,).
        small: Top class of the small network, (n,).
        labels: (n,), or None where there are none.
        errors: Relative errors of the outputs, (n,); may be infinite.
        ranks: Of the label, or of the original's class where there are no labels, among the classes
            by score, counted from 0: (n,) by the original and by the small network; None unless
            asked for.
        losses: By name: (n,) of the original and of the small network.
    """

    original: NDArray[np.int64]
    small: NDArray[np.int64]
    labels: NDArray[np.int64] | None
    errors: NDArray[np.float64]
    ranks: tuple[NDArray[np.int64], NDArray[np.int64]] | None
    losses: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]


def check_top_k(k: int, classes: int) -> None:
    """Raise InputError where every class is among the k best."""
    if k >= classes:
        raise InputError(
            f"top_k is {k}, but the networks return {classes} classes; "
            "expected fewer than that, or every class is among the best."
        )


@dataclass(slots=True)
class Recorder:
    """Gathers the outcomes, sample by sample; a few numbers for each."""

    top_k: int | None
    count: int = 0
    classes: int | None = None
    columns: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    losses: dict[str, tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]] = field(
        default_factory=lambda: defaultdict(lambda: ([], []))
    )

    def add(self, batch: Batch, original: Tensor, small: Tensor) -> None:
        """Check the outputs (N, classes) of one batch and keep top classes and errors."""
        self._check_outputs("original", original, len(batch))
        self._check_outputs("small", small, len(batch))
        labels = batch.labels
        if labels is not None:
            check_labels(labels, original.shape[1])
            labels = labels.cpu().long()
            self.columns["labels"].append(labels)
        top = original.argmax(dim=1)
        self.columns["original"].append(top)
        self.columns["small"].append(small.argmax(dim=1))
        self.columns["errors"].append(relative_errors(original, small))
        if self.top_k is not None:
            wanted = top if labels is None else labels
            self.columns["ranks"].append(_ranks(original, wanted))
            self.columns["small ranks"].append(_ranks(small, wanted))
        self.count += len(batch)

    def _check_outputs(self, name: str, outputs: Tensor, samples: int) -> None:
        if outputs.ndim != 2 or len(outputs) != samples or not outputs.shape[1]:
            raise DataError(
                f"the {name} network returns shape {tuple(outputs.shape)} for {samples} samples; "
                f"expected ({samples}, classes), one row of class scores for each sample."
            )
        if self.classes is None and self.top_k is not None:
            check_top_k(self.top_k, outputs.shape[1])
        self.classes = self.classes or outputs.shape[1]
        if outputs.shape[1] != self.classes:
            raise DataError(
                f"the {name} network returns {outputs.shape[1]} classes where {self.classes} were "
                "returned before; expected both networks to return the same classes throughout."
            )
        bad = ~torch.isfinite(outputs).all(dim=1)
        if bad.any():
            raise DataError(
                f"the {name} network returns NaN or infinity, first for sample "
                f"{self.count + int(bad.nonzero()[0, 0])} of the certification loader (counted "
                "from 0); expected finite outputs. Check its weights and the inputs."
            )

    def outcomes(self) -> Outcomes:
        """All samples together."""
        labelled = sum(len(labels) for labels in self.columns["labels"])
        if labelled not in (0, self.count):
            raise DataError(
                f"only {labelled} of the {self.count} certification samples have labels; expected "
                "labels for all of them or for none."
            )

        def joined(name: str) -> NDArray[np.int64]:
            return np.asarray(torch.cat(self.columns[name]).numpy())

        return Outcomes(
            original=joined("original"),
            small=joined("small"),
            labels=joined("labels") if labelled else None,
            errors=torch.cat(self.columns["errors"]).numpy(),
            ranks=None if self.top_k is None else (joined("ranks"), joined("small ranks")),
            losses={
                name: (np.concatenate(first), np.concatenate(second))
                for name, (first, second) in self.losses.items()
            },
        )


def _ranks(
    scores: Tensor,  # (N, classes)
    classes: Tensor,  # (N,) int64
) -> Tensor:  # (N,) int64
    """How many classes come before the given one; of equal scores the lower class comes first."""
    own = scores.gather(1, classes[:, None])
    lower = torch.arange(scores.shape[1])[None] < classes[:, None]
    return ((scores > own) | ((scores == own) & lower)).sum(dim=1)
