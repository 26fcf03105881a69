"""Make the Fashion-MNIST samples that come with the package.

    python scripts/make_bundled_data.py --data-dir /usr/share/datasets/fashion-mnist \
        --out src/prunella/data/bundle

The choice of samples depends on the seed below alone: samples are ordered by the SHA-256 of seed
and position, which every version of every library computes alike, unlike a random generator.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import sys
from pathlib import Path

import torch

from prunella.core.errors import PrunellaError
from prunella.data import ImageSet, load
from prunella.data.idx import encode_idx

SEED = "prunella bundled data 1"
CALIBRATION_PER_CLASS = 240
DRAWN = 2_000  # samples in each of the certification and the test part


def shuffled(count: int, *, purpose: str) -> list[int]:
    """The positions 0 to count - 1 in a fixed pseudo-random order."""
    return sorted(
        range(count), key=lambda i: hashlib.sha256(f"{SEED}/{purpose}/{i}".encode()).digest()
    )


def choose(train: ImageSet, test: ImageSet) -> dict[str, ImageSet]:
    """The three parts; the last two are plain random draws without replacement."""
    order = shuffled(len(train), purpose="train")
    picked: list[int] = []
    for label in range(len(train.classes)):
        of_class = [i for i in order if int(train.labels[i]) == label]
        if len(of_class) < CALIBRATION_PER_CLASS:
            raise SystemExit(f"class {label} has only {len(of_class)} training samples.")
        picked += of_class[:CALIBRATION_PER_CLASS]
    # in random order again, so that every prefix is roughly balanced too
    rank = {sample: place for place, sample in enumerate(order)}
    picked.sort(key=rank.__getitem__)
    drawn = shuffled(len(test), purpose="test")
    return {
        "calibration": train.subset(picked),
        "certification": test.subset(drawn[:DRAWN]),
        "test": test.subset(drawn[DRAWN : 2 * DRAWN]),
    }


def contents(parts: dict[str, ImageSet]) -> dict[str, bytes]:
    """File name to unpacked IDX content."""
    files = {}
    for part, samples in parts.items():
        files[f"{part}-images.idx.gz"] = encode_idx(samples.images.squeeze(1))
        files[f"{part}-labels.idx.gz"] = encode_idx(samples.labels.to(torch.uint8))
    return files


def pack(content: bytes) -> bytes:
    """Compress with gzip, the same bytes whenever it is done (no time, no name in the head)."""
    buffer = io.BytesIO()
    # GzipFile writes one head in all versions of Python; gzip.compress does not
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, compresslevel=9, mtime=0) as out:
        out.write(content)
    return buffer.getvalue()


def main() -> None:
    """Write the files, and a table of their sizes and digests for the README."""
    parser = argparse.ArgumentParser(description="Make the bundled Fashion-MNIST samples.")
    parser.add_argument("--data-dir", type=Path, help="folder with the four published IDX files")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    options = parser.parse_args()
    try:
        parts = choose(
            load("fashion-mnist", "train", data_dir=options.data_dir),
            load("fashion-mnist", "test", data_dir=options.data_dir),
        )
    except PrunellaError as error:
        raise SystemExit(str(error)) from None
    options.out.mkdir(parents=True, exist_ok=True)
    for name, content in contents(parts).items():
        packed = pack(content)
        (options.out / name).write_bytes(packed)
        digests = (hashlib.sha256(data).hexdigest() for data in (packed, content))
        sys.stdout.write(f"| {name} | {len(packed):,} | {' | '.join(digests)} |\n")


if __name__ == "__main__":
    main()
