"""Samples of any kind, in anything that is indexed like a list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from prunella.core.errors import DataError


class Listed(Protocol):
    """A list, or a data set of PyTorch's or Hugging Face's."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ListedSet:
    """Samples that are put into batches as PyTorch's `default_collate` does.

    A sample is a tensor, a tuple or a dictionary like the batches to come, without their first
    axis: (inputs, label), ((first, second), label), ({"input_ids": ...}, label), or a dictionary
    that holds its label under "labels" or "label".

    Attributes:
        name: What the samples are, for reports.
        source: Gives a sample by its position, always the same one.
        positions: Of the samples of this set in the source, shape (N,).
    """

    name: str
    source: Listed
    positions: Tensor  # (N,) int64

    @staticmethod
    def of(name: str, source: object) -> ListedSet | None:
        """All samples of a list or data set; None if it is neither."""
        indexed = all(hasattr(source, method) for method in ("__len__", "__getitem__"))
        if not indexed or isinstance(source, (str, bytes, Mapping, Tensor)):
            return None
        listed: Any = source
        return ListedSet(name=name, source=listed, positions=torch.arange(len(listed)))

    def __len__(self) -> int:
        return len(self.positions)

    def subset(self, indices: Tensor | Sequence[int]) -> ListedSet:
        """The samples at `indices` (positions in this set), in that order."""
        chosen = torch.as_tensor(indices, dtype=torch.long)
        return ListedSet(name=self.name, source=self.source, positions=self.positions[chosen])

    def loader(
        self,
        batch_size: int,
        *,
        shuffle: bool = False,
        generator: torch.Generator | None = None,
    ) -> DataLoader[Any]:
        """Batches of samples.

        Shuffling draws from `generator`, or from torch's global one, at the start of every pass.

        Raises:
            DataError: when a sample cannot be read, or samples have different shapes.
        """
        return DataLoader(
            _Samples(self),
            batch_size=batch_size,
            shuffle=shuffle,
            generator=generator,
            collate_fn=self._together,
        )

    def _together(self, samples: list[Any]) -> Any:
        try:
            return default_collate(samples)
        except Exception as error:  # torch raises several classes
            cause = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DataError(
                f"{self.name}: {len(samples)} samples cannot be put into one batch ({cause}); "
                "expected tensors and numbers of the same shape in every sample, for instance "
                "sentences padded to one length."
            ) from error


class _Samples(Dataset[Any]):
    """The samples of a set by their number; what the source raises becomes a message."""

    def __init__(self, samples: ListedSet) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        position = int(self.samples.positions[index])
        try:
            return self.samples.source[position]
        except Exception as error:  # the user's own code may raise anything
            raise DataError(
                f"{self.samples.name}: sample {position} cannot be read "
                f"({type(error).__name__}: {error})."
            ) from error
