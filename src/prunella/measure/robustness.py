"""How often two networks answer differently on corrupted images: measured, not certified.

Equal accuracy on clean samples can hide a loss elsewhere (Liebenwein, Baykal, Carter, Gifford and
Rus, "Lost in pruning", MLSys 2021). The corruptions are four of the kinds of Hendrycks and
Dietterich, "Benchmarking neural network robustness to common corruptions and perturbations",
ICLR 2019, defined relative to the image, so that they suit images of any size and scale.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prunella.core.batches import Batch, check_labels, read_batch
from prunella.core.errors import DataError, InputError
from prunella.core.inputs import Inputs
from prunella.core.modes import evaluating
from prunella.core.outputs import class_scores
from prunella.core.progress import Progress, length, silent
from prunella.core.results import Corrupted, Robustness

NOISE = 0.3  # standard deviation of the noise, in those of the image
CONTRAST = 0.4  # what is left of the differences from the image's mean
SHIFT = 0.1  # of the shorter side, down and to the right
BLUR = 1 / 32  # standard deviation of the blur as a share of the shorter side


def robustness(
    model: nn.Module,
    small: nn.Module,
    loader: Iterable[object],
    *,
    samples: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Robustness:
    """Compare two networks on images as they are, and with noise, blur, less contrast, and shifted.

    The numbers are what was observed on these samples. Nothing is claimed about new ones.

    Args:
        model: The original; returns logits (N, classes), see `logits_of`. Untouched.
        small: The small network, the same.
        loader: Yields images (N, C, H, W) of a floating type, with labels for the accuracies or
            without. The certification samples will do: measuring them chooses nothing.
        samples: At most so many, the first ones; all by default.
        seed: Of the noise, which is the same for any batch size.
        progress: Reports batches.

    Raises:
        DataError: there are no samples, labels are out of range or missing in some batches.
        InputError: the samples are no images, or a network returns no class scores.
    """
    generator = torch.Generator().manual_seed(seed)
    counts = {name: [0, 0, 0] for name in _NAMES}  # different answers; right: original, small
    seen = labelled = 0
    with evaluating(model), evaluating(small), torch.random.fork_rng():
        batches = progress(loader, description="corrupted samples", total=length(loader))
        for batch in _first(batches, samples):
            images = _images(batch)
            seen += len(batch)
            labelled += len(batch) if batch.labels is not None else 0
            for name, changed in _corruptions(images, generator):
                for place, number in enumerate(_compared(model, small, changed, batch)):
                    counts[name][place] += number
    if not seen:
        raise DataError("the loader is empty; expected at least one sample.")
    if labelled not in (0, seen):
        raise DataError(f"only {labelled} of {seen} samples have labels; expected all or none.")
    rows = tuple(
        Corrupted(
            name=name,
            disagreement=differ / seen,
            original=right / seen if labelled else None,
            small=small_right / seen if labelled else None,
        )
        for name, (differ, right, small_right) in counts.items()
    )
    return Robustness(samples=seen, rows=rows)


def are_images(inputs: Inputs) -> bool:
    """Whether a batch is one tensor of images, which is what can be corrupted."""
    tensors = inputs.tensors
    return (
        len(inputs.leaves()) == len(tensors) == 1
        and tensors[0].ndim == 4
        and tensors[0].dtype.is_floating_point
    )


def _first(batches: Iterable[object], samples: int | None) -> Iterator[Batch]:
    """Batches up to so many samples, the last one cut."""
    left = math.inf if samples is None else samples
    for item in batches:
        if left <= 0:
            return
        batch = read_batch(item)
        if len(batch) > left:
            taken = slice(int(left))
            labels = None if batch.labels is None else batch.labels[taken]
            batch = Batch(inputs=batch.inputs.samples(taken), given_labels=labels, count=int(left))
        if len(batch):
            left -= len(batch)
            yield batch


def _images(batch: Batch) -> Tensor:  # (N, C, H, W)
    if not are_images(batch.inputs):
        raise InputError(
            f"corruptions need images, but the loader yields tensors of shapes "
            f"{batch.inputs.words()}; expected one tensor (N, C, H, W) of a floating type."
        )
    return batch.inputs.tensors[0]


def _compared(
    model: nn.Module, small: nn.Module, images: Tensor, batch: Batch
) -> tuple[int, int, int]:
    """Different answers, and right ones of the original and of the small network."""
    before, after = (_classes(network, images, batch) for network in (model, small))
    labels = batch.labels
    if labels is None:
        return int((before != after).sum()), 0, 0
    right, small_right = (int((found == labels.cpu()).sum()) for found in (before, after))
    return int((before != after).sum()), right, small_right


def _classes(network: nn.Module, images: Tensor, batch: Batch) -> Tensor:  # (N,)
    inputs = batch.inputs.map(lambda _: images)
    first = next(network.parameters(), None)
    outputs = (inputs if first is None else inputs.to(first.device)).call(network)
    scores = class_scores(outputs, len(batch))
    if batch.labels is not None:
        check_labels(batch.labels, scores.shape[1])
    return scores.argmax(1).cpu()


def _corruptions(images: Tensor, generator: torch.Generator) -> Iterator[tuple[str, Tensor]]:
    yield _CLEAN, images
    yield "noise", _noisy(images, generator)
    for name, change in _CHANGES.items():
        yield name, change(images)


def _noisy(images: Tensor, generator: torch.Generator) -> Tensor:
    # one image at a time, so that an image has the same noise in a batch of any size
    noise = [torch.randn(image.shape, generator=generator) for image in images]
    spread = images.std(dim=(1, 2, 3), keepdim=True, correction=0)
    return images + NOISE * spread * torch.stack(noise).to(images)


def _blurred(images: Tensor) -> Tensor:
    side = min(images.shape[2:])
    spread = max(BLUR * side, 0.5)
    radius = min(math.ceil(2 * spread), side - 1)
    if radius == 0:
        return images
    places = torch.arange(-radius, radius + 1, dtype=images.dtype, device=images.device)
    weights = torch.exp(-0.5 * (places / spread) ** 2)
    weights = weights / weights.sum()
    channels = images.shape[1]
    padded = F.pad(images, [radius] * 4, mode="reflect")
    row = weights.expand(channels, 1, 1, -1)
    return F.conv2d(F.conv2d(padded, row, groups=channels), row.mT, groups=channels)


def _flat(images: Tensor) -> Tensor:
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return mean + CONTRAST * (images - mean)


def _shifted(images: Tensor) -> Tensor:
    height, width = images.shape[2:]
    pixels = min(max(1, round(SHIFT * min(height, width))), height, width)
    padded = F.pad(images, [pixels, 0, pixels, 0], mode="replicate")
    return padded[:, :, :height, :width]


_CLEAN = "as they are"
_CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "blur": _blurred,
    "low contrast": _flat,
    "shift": _shifted,
}
_NAMES = (_CLEAN, "noise", *_CHANGES)
