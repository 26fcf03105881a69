"""Folders of images: one sub-folder for each class."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from prunella.core.errors import DataError, FileError, InputError
from prunella.core.progress import Progress, silent
from prunella.core.words import one_line
from prunella.data.files import MOST_BYTES
from prunella.data.images import ImageSet

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".ppm")
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
_BILINEAR = 2  # Pillow's code, so that Pillow is imported only when needed
_MOST_PIXELS = 1 << 27  # of one image, read or resized


def class_names(root: Path) -> tuple[str, ...]:
    """Names of the class folders in `root`, sorted; hidden ones are passed over.

    Raises:
        FileError: no such folder, or nothing in it that could be a class.
    """
    if not root.is_dir():
        raise FileError(f"{root}: no such folder.")
    names = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not names:
        raise FileError(
            f"{root}: has no sub-folders; expected one for each class, for instance "
            f"{root / 'cat' / '001.png'}."
        )
    return tuple(names)


def read_image_folder(
    root: Path,
    *,
    size: int,
    shorter_side: int | None = None,
    classes: Sequence[str] | None = None,
    keep: Callable[[str], bool] | None = None,
    progress: Progress = silent,
) -> ImageSet:
    """Read `root/CLASS/**/*.{png,jpg,jpeg,bmp,ppm}` as RGB images of one size.

    Each image is resized (bilinear, antialiased) so that its shorter side has `shorter_side`
    pixels, and a square of `size` pixels is cut from its centre. Rotation tags of cameras are
    ignored, as the usual training pipelines do. The mean and standard deviation are ImageNet's.

    Args:
        root: The folder.
        size: Side of the resulting images, pixels.
        shorter_side: Pixels, at least `size`; None = `size`. ImageNet's custom is 256 for 224.
        classes: Names in the order of the labels; None = the sub-folders, sorted.
        keep: Takes the path below `root` (with "/") and tells whether to read it; None = all.
        progress: Told of every image.

    Raises:
        FileError: no images, an unknown class folder, or a file that is not a whole image.
        InputError: a size that cannot be, or Pillow is not installed.
        DataError: the images would not fit into memory.
    """
    shorter = size if shorter_side is None else shorter_side
    if size < 1 or shorter < size:
        raise InputError(
            f"size {size} with a shorter side of {shorter} pixels: expected 1 <= size <= shorter "
            "side."
        )
    found = class_names(root)
    names = found if classes is None else tuple(classes)
    unknown = sorted(set(found) - set(names))
    if unknown:
        raise FileError(f"{root}: class folder {unknown[0]} is not among the classes {names}.")
    files = [(path, names.index(name)) for name in found for path in _images_in(root / name)]
    if keep is not None:
        files = [(p, label) for p, label in files if keep(p.relative_to(root).as_posix())]
    if not files:
        raise FileError(f"{root}: no images to read ({', '.join(SUFFIXES)} are read).")
    needed = len(files) * 3 * size * size
    if needed > MOST_BYTES:
        raise DataError(
            f"{root}: {len(files):,} images of {size} x {size} pixels take {needed / 2**30:.0f} "
            f"GiB, more than the {MOST_BYTES >> 30} GiB that are read into memory; use fewer "
            "images, a smaller size, or a loader of your own (package.module:factory)."
        )
    images = torch.empty(len(files), 3, size, size, dtype=torch.uint8)
    jobs = progress(files, description=f"Reading {root.name}", total=len(files))
    for i, (path, _) in enumerate(jobs):
        images[i] = _decode(path, size=size, shorter=shorter)
    return ImageSet(
        name=root.name,
        images=images,
        labels=torch.tensor([label for _, label in files], dtype=torch.int64),
        classes=names,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )


def in_test_part(name: str) -> bool:
    """Whether a file belongs to the fifth of an undivided folder that serves as its test part.

    Depends on the file's path below the folder alone, so that adding files moves none of the
    others from one part to the other.
    """
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[0] % 5 == 0


def _images_in(folder: Path) -> list[Path]:
    paths = [p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file()]
    # "._x.jpg" and the like are notes of file managers, not images
    paths = sorted(p for p in paths if not p.name.startswith("."))
    if not paths:
        raise FileError(
            f"{folder}: holds no images ({', '.join(SUFFIXES)} are read); remove the folder, or "
            "put the images of its class there."
        )
    return paths


def _decode(path: Path, *, size: int, shorter: int) -> Tensor:
    """One image, uint8, shape (3, size, size)."""
    try:
        from PIL import Image
    except ImportError:
        raise InputError(
            "reading image folders needs Pillow, which is not installed; install it with "
            "pip install 'prunella[vision]'."
        ) from None
    try:
        with Image.open(path) as image:
            pixels = np.asarray(_fit(image, size=size, shorter=shorter))
    except Exception as error:  # decoders fail in many ways on damaged files
        raise FileError(
            f"{path}: cannot be read as an image ({type(error).__name__}: {one_line(error)}); "
            "replace or remove the file."
        ) from None
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)


def _fit(image: Image.Image, *, size: int, shorter: int) -> Image.Image:
    _check_pixels(image.width, image.height)
    if "transparency" in image.info:  # Pillow warns of losing it in one step from a palette
        image = image.convert("RGBA")
    image = image.convert("RGB")
    width, height = image.size
    if min(width, height) != shorter:
        factor = shorter / min(width, height)
        # the side that decides must come out exact whatever the rounding
        width = shorter if width <= height else max(shorter, round(width * factor))
        height = shorter if image.height <= image.width else max(shorter, round(height * factor))
        _check_pixels(width, height)
        image = image.resize((width, height), resample=_BILINEAR)
    left, top = (width - size) // 2, (height - size) // 2
    return image.crop((left, top, left + size, top + size))


def _check_pixels(width: int, height: int) -> None:
    # A small file can claim any size, and a long, thin image grows when its short side does.
    if width * height > _MOST_PIXELS:
        raise ValueError(f"{width:,} x {height:,} pixels, at most {_MOST_PIXELS:,} are read")
