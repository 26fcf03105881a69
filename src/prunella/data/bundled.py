"""The Fashion-MNIST samples that come with the package.

bundle/README.md says how they were made.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Literal, get_args

from prunella.core.errors import FileError, InputError
from prunella.data.files import unpack
from prunella.data.images import ImageSet
from prunella.data.known import FASHION_MNIST, Named, decode_pair

Part = Literal["calibration", "certification", "test"]


def bundled(part: Part) -> ImageSet:
    """One of the three disjoint parts.

    - "calibration": 2,400 training images of Fashion-MNIST, 240 of each class.
    - "certification", "test": 2,000 test images each, drawn at random whatever their class.

    Raises:
        InputError: there is no such part.
        FileError: the installed package is damaged.
    """
    if part not in get_args(Part):
        raise InputError(f"bundled part {part!r}: expected one of {', '.join(get_args(Part))}.")
    images, labels = decode_pair((_content(f"{part}-images"), _content(f"{part}-labels")))
    return ImageSet(
        name=f"Fashion-MNIST, bundled {part} part",
        images=images,
        labels=labels,
        classes=FASHION_MNIST.classes,
        mean=FASHION_MNIST.mean,
        std=FASHION_MNIST.std,
    )


def _content(stem: str) -> Named:
    name = f"{stem}.idx.gz"
    try:
        raw = (files("prunella.data") / "bundle" / name).read_bytes()
    except OSError as error:
        raise FileError(
            f"bundled file {name}: cannot be read ({error.strerror or error}); install prunella "
            "again."
        ) from None
    return name, unpack(raw, name=name)
