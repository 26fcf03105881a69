"""Labelled images in memory, and loaders over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from prunella.core.errors import DataError

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ImageSet:
    """Images of one size with integer labels.

    Attributes:
        name: What the samples are, for reports.
        images: uint8, shape (N, C, H, W).
        labels: int64, shape (N,), each in [0, len(classes)).
        classes: Names of the classes, in the order of the labels.
        mean: Mean of each channel after scaling to [0, 1]; length C.
        std: Standard deviation of each channel after scaling to [0, 1]; length C.
    """

    name: str
    images: Tensor  # (N, C, H, W) uint8
    labels: Tensor  # (N,) int64
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.dtype != torch.uint8:
            raise DataError(
                f"{self.name}: images must be uint8 of shape (N, C, H, W), got "
                f"{self.images.dtype} of shape {tuple(self.images.shape)}."
            )
        if self.labels.shape != self.images.shape[:1]:
            raise DataError(
                f"{self.name}: {len(self.images)} images but {tuple(self.labels.shape)} labels."
            )
        if len(self.labels) and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < len(
            self.classes
        ):
            raise DataError(
                f"{self.name}: labels run from {int(self.labels.min())} to "
                f"{int(self.labels.max())}, expected 0 to {len(self.classes) - 1}."
            )

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, indices: Tensor | Sequence[int], *, name: str | None = None) -> ImageSet:
        """The samples at `indices` (positions in this set), in that order."""
        index = torch.as_tensor(indices, dtype=torch.long)
        return replace(
            self, images=self.images[index], labels=self.labels[index], name=name or self.name
        )

    def loader(self, batch_size: int, *, shuffle: bool = False) -> DataLoader[Batch]:
        """Batches of normalised float32 images (N, C, H, W) and int64 labels (N,).

        Shuffling draws from torch's global generator at the start of every pass.

        Raises:
            DataError: there are no samples, or the batch size is not positive.
        """
        if batch_size < 1:
            raise DataError(f"{self.name}: batch size must be at least 1, got {batch_size}.")
        if not len(self):
            raise DataError(f"{self.name}: the set is empty; expected at least one sample.")
        return DataLoader(
            _Normalised(self), batch_size=batch_size, shuffle=shuffle, collate_fn=_same
        )


class _Normalised(Dataset[Batch]):
    """Normalises a whole batch at once, far cheaper than image by image."""

    def __init__(self, images: ImageSet) -> None:
        self.source = images
        self.shift = torch.tensor(images.mean).view(1, -1, 1, 1)
        self.scale = 1 / torch.tensor(images.std).view(1, -1, 1, 1)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Batch:
        images, labels = self.__getitems__([index])
        return images[0], labels[0]

    def __getitems__(self, indices: list[int]) -> Batch:
        index = torch.tensor(indices)
        images = self.source.images[index].float().div_(255)
        return images.sub_(self.shift).mul_(self.scale), self.source.labels[index]


def _same(batch: Batch) -> Batch:
    return batch
