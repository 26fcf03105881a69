"""Labelled images in memory, and loaders over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from prunella.core.errors import DataError
from prunella.core.sets import is_outside, positions, whole_batches

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
        if self.labels.shape != self.images.shape[:1] or self.labels.dtype != torch.int64:
            raise DataError(
                f"{self.name}: {len(self.images)} images with {self.labels.dtype} labels of shape "
                f"{tuple(self.labels.shape)}; expected one int64 label for each image."
            )
        channels = self.images.shape[1]
        if len(self.mean) != channels or len(self.std) != channels or any(s <= 0 for s in self.std):
            raise DataError(
                f"{self.name}: {channels} channels, but mean {self.mean} and standard deviation "
                f"{self.std}; expected one number for each channel, the deviations positive."
            )
        if is_outside(self.labels, 0, len(self.classes) - 1):
            raise DataError(
                f"{self.name}: labels run from {int(self.labels.min())} to "
                f"{int(self.labels.max())}, expected 0 to {len(self.classes) - 1}."
            )

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, indices: Tensor | Sequence[int], *, name: str | None = None) -> ImageSet:
        """The samples at `indices` (positions in this set), in that order.

        Raises:
            DataError: the indices are not integers within the set.
        """
        index = positions(indices, len(self), name=self.name, what="samples")
        return replace(
            self, images=self.images[index], labels=self.labels[index], name=name or self.name
        )

    def loader(
        self,
        batch_size: int,
        *,
        shuffle: bool = False,
        generator: torch.Generator | None = None,
    ) -> DataLoader[Batch]:
        """Batches of normalised float32 images (N, C, H, W) and int64 labels (N,).

        Shuffling draws from `generator`, or from torch's global one, at the start of every pass.

        Raises:
            DataError: there are no samples, or the batch size is not positive.
        """
        return whole_batches(
            _Normalised(self),
            batch_size,
            name=self.name,
            what="sample",
            shuffle=shuffle,
            generator=generator,
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
