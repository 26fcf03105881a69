"""Random shifts and flips of a whole batch of images on its own device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from prunella.retrain.recipe import Recipe


def augment(
    images: Tensor,  # (N, C, H, W)
    recipe: Recipe,
) -> Tensor:
    """Shift each image by up to `recipe.shift` pixels (reflected border) and mirror half of them.

    Draws from torch's global generator, which the training loop seeds for every epoch.
    """
    if recipe.flip:
        mirrored = torch.rand(len(images), device=images.device) < 0.5
        images = torch.where(mirrored.view(-1, 1, 1, 1), images.flip(-1), images)
    if recipe.shift:
        images = _shift(images, recipe.shift)
    return images


def _shift(images: Tensor, pixels: int) -> Tensor:
    count, _, height, width = images.shape
    padded = F.pad(images, (pixels,) * 4, mode="reflect")
    device = images.device
    down = torch.randint(0, 2 * pixels + 1, (count, 1), device=device)
    right = torch.randint(0, 2 * pixels + 1, (count, 1), device=device)
    rows = (down + torch.arange(height, device=device)).view(count, 1, height, 1)
    columns = (right + torch.arange(width, device=device)).view(count, 1, 1, width)
    sample = torch.arange(count, device=device).view(count, 1, 1, 1)
    channel = torch.arange(images.shape[1], device=device).view(1, -1, 1, 1)
    return padded[sample, channel, rows, columns]
