"""Random shifts and flips."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from prunella.retrain import Recipe
from prunella.retrain.augment import augment


@pytest.mark.parametrize(("shift", "flip"), [(0, True), (2, False), (3, True)])
def test_same_seed_same_images(shift, flip):
    images, recipe = torch.rand(6, 3, 8, 9), Recipe(shift=shift, flip=flip)
    torch.manual_seed(1)
    a = augment(images, recipe)
    torch.manual_seed(1)
    b = augment(images, recipe)
    c = augment(images, recipe)
    assert a.shape == images.shape
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_every_image_is_a_window_of_itself():
    images, pixels = torch.rand(40, 2, 6, 7), 2
    shifted = augment(images, Recipe(shift=pixels))
    padded = F.pad(images, (pixels,) * 4, mode="reflect")
    seen = set()
    for image, source in zip(shifted, padded, strict=True):
        found = {
            (down, right)
            for down in range(2 * pixels + 1)
            for right in range(2 * pixels + 1)
            if torch.equal(image, source[:, down : down + 6, right : right + 7])
        }
        assert len(found) == 1
        seen |= found
    assert {down for down, _ in seen} == {right for _, right in seen} == set(range(5))


def test_flips_whole_images_about_half_of_the_time():
    images = torch.rand(400, 1, 2, 3)
    flipped = augment(images, Recipe(flip=True))
    mirrored = [bool(torch.equal(a, b.flip(-1))) for a, b in zip(flipped, images, strict=True)]
    kept = [bool(torch.equal(a, b)) for a, b in zip(flipped, images, strict=True)]
    assert all(m != k for m, k in zip(mirrored, kept, strict=True))
    assert abs(sum(mirrored) - 200) < 4 * 10


def test_without_either_the_images_stay():
    images = torch.rand(2, 1, 4, 4)
    assert augment(images, Recipe()) is images
