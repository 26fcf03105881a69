"""Held-out samples, one by one, and the refusal of those that were used before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import final

import torch

from prunella.core.batches import Batch, read_batch
from prunella.core.errors import DataError
from prunella.core.inputs import Inputs
from prunella.core.samples import SampleIds


@final
@dataclass(slots=True)
class HeldOut:
    """Reads samples and notes which ones; see `check`."""

    used: SampleIds
    hashes: set[int] = field(default_factory=set)
    count: int = 0
    overlap: int = 0

    def samples(self, batches: Iterable[object], device: torch.device) -> Iterator[Inputs]:
        """Each sample as a batch of one, until the first that may not be used.

        The rest is still read after that, but only to count.
        """
        for batch in batches:
            read = read_batch(batch)
            for number in range(self._noted(read)):
                yield read.inputs.samples(slice(number, number + 1)).to(device)

    def _noted(self, batch: Batch) -> int:
        """Note the samples of a batch; how many of them may be used."""
        if not len(batch):
            return 0
        found = batch.ids
        fresh = found.hashes - self.hashes
        self.overlap += len(fresh & self.used.hashes)
        self.hashes |= fresh
        self.count += found.count
        return 0 if self.overlap or self.count > len(self.hashes) else found.count

    @property
    def ids(self) -> SampleIds:
        """The samples read so far."""
        return SampleIds(hashes=frozenset(self.hashes), count=self.count)

    def check(self) -> None:
        """Raise DataError unless the samples are new, distinct, and at least one."""
        if not self.count:
            raise DataError(
                "the loader of held-out samples yields none; expected at least one. Check the data "
                "set, and that the loader is not an iterator already read."
            )
        if self.overlap:
            raise DataError(
                f"{self.overlap} of the {len(self.hashes)} held-out samples also informed the "
                "scores or the plan; measured on them, the constant C would be too small and the "
                "bounds would not hold. Use samples that were used for nothing else."
            )
        if self.count > len(self.hashes):
            raise DataError(
                f"{self.count - len(self.hashes)} of the {self.count} held-out samples repeat "
                "another one; the bounds need exchangeable samples. Remove the duplicates, and "
                "check that the loader samples without replacement and does not pad its last batch."
            )
