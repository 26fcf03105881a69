"""The two file formats of CIFAR-10.

Source: Krizhevsky, "Learning multiple layers of features from tiny images", 2009, and the data
set's page, https://www.cs.toronto.edu/~kriz/cifar.html.

Binary version: records of 3,073 bytes, one byte for the label and then 1,024 bytes each of red,
green and blue in row order. Python version: a pickled dictionary, whose `data` is an array of
unsigned bytes of shape (N, 3072) with the same order of pixels and whose `labels` is a list.

A pickle can call any function when it is opened. The reader here resolves only the three names
that a NumPy array needs, each to a stand-in that merely collects its arguments; every other name
is refused before anything runs.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from prunella.core.errors import FileError
from prunella.core.reading import read_at_most
from prunella.core.words import one_line, shown
from prunella.data.files import MOST_BYTES, unpack

_PIXELS = 3 * 32 * 32
_RECORD = 1 + _PIXELS
_CLASSES = 10
_PLACED = ("PUT", "BINPUT", "LONG_BINPUT")  # operations that keep an object for later


def read_cifar10(path: Path) -> tuple[Tensor, Tensor]:
    """Images and labels of one CIFAR-10 batch, in either format, plain or gzip-compressed.

    Returns:
        uint8 images of shape (N, 3, 32, 32), and int64 labels of shape (N,) in [0, 10).

    Raises:
        FileError: missing, damaged, or not a CIFAR-10 batch.
    """
    raw = read_at_most(path, MOST_BYTES)
    return decode_cifar10(unpack(raw, name=str(path)), name=str(path))


def decode_cifar10(raw: bytes, *, name: str) -> tuple[Tensor, Tensor]:
    """The same for content in memory; `name` is used in messages."""
    # A pickle of protocol 2 or later begins with 0x80, which no label is.
    if raw[:1] == b"\x80":
        return _decode_python(raw, name=name)
    return _decode_binary(raw, name=name)


def _decode_binary(raw: bytes, *, name: str) -> tuple[Tensor, Tensor]:
    if not raw or len(raw) % _RECORD:
        raise FileError(
            f"{name}: {len(raw):,} bytes, expected a positive multiple of {_RECORD:,} (a CIFAR-10 "
            "binary batch); the file is truncated, or of another kind."
        )
    records = np.frombuffer(raw, dtype=np.uint8).reshape(-1, _RECORD)
    labels = records[:, 0].tolist()
    images = torch.from_numpy(records[:, 1:].reshape(-1, 3, 32, 32).copy())
    return images, _label_tensor(labels, name=name)


def _decode_python(raw: bytes, *, name: str) -> tuple[Tensor, Tensor]:
    try:
        _check_opcodes(raw)
        content = _Reader(io.BytesIO(raw), encoding="bytes").load()
    except FileError as error:
        raise FileError(f"{name}: {error}") from None
    except Exception as error:  # a damaged pickle can fail in nearly any way
        raise FileError(
            f"{name}: not a readable CIFAR-10 batch ({type(error).__name__}: {one_line(error)}); "
            "the file is damaged, fetch it again."
        ) from None
    if not isinstance(content, dict):
        raise FileError(f"{name}: holds a {type(content).__name__}, expected a dictionary.")
    data = content.get(b"data", content.get("data"))
    labels = content.get(b"labels", content.get("labels"))
    if not isinstance(data, _Array) or not isinstance(labels, list):
        raise FileError(
            f"{name}: expected an array `data` and a list `labels`, as in the Python version of "
            "CIFAR-10."
        )
    images = data.pixels(name)
    if len(labels) != len(images) or any(type(label) is not int for label in labels):
        raise FileError(
            f"{name}: {len(images)} images, but not as many integer labels; the file is damaged."
        )
    return images, _label_tensor(labels, name=name)


def _label_tensor(labels: list[int], *, name: str) -> Tensor:
    # as Python integers, which no damaged value can overflow
    low, high = min(labels), max(labels)
    if low < 0 or high >= _CLASSES:
        raise FileError(
            f"{name}: labels run from {low} to {high}, expected 0 to {_CLASSES - 1}; "
            "the file is damaged, or not CIFAR-10."
        )
    return torch.tensor(labels, dtype=torch.int64)


def _check_opcodes(raw: bytes) -> None:
    """Raise FileError or ValueError unless a pickle is whole and needs no more than its own size.

    The unpickler reserves memory for lengths and places that the pickle merely states.
    """
    for place, (opcode, argument, _) in enumerate(pickletools.genops(raw)):
        # Writers count the places up from 0, or in Python 2 from 1. Lengths genops has checked.
        if opcode.name in _PLACED and not 0 <= int(argument or 0) <= place + 1:
            raise FileError(f"puts object {place} at place {shown(argument)}; it was not opened.")


@final
class _Reader(pickle.Unpickler):
    """Resolves what a NumPy array of bytes needs, to stand-ins, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        stand_in = _STAND_INS.get((module, name))
        if stand_in is None:
            raise FileError(
                f"asks for {one_line(f'{module}.{name}')}, which no CIFAR-10 file needs and which "
                "could run code; the file was not opened. Fetch it again from "
                "https://www.cs.toronto.edu/~kriz/cifar.html."
            )
        return _Name(stand_in)

    def persistent_load(self, pid: Any) -> Any:
        del pid
        raise FileError("refers to objects outside the file; it was not opened.")


@final
class _Name:
    """A resolved name: may be called, but not altered by what the file says."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., object]) -> None:
        self._make = make

    def __call__(self, *args: object) -> object:
        return self._make(*args)

    def __setstate__(self, state: object) -> None:
        raise FileError("tries to alter a function; it was not opened.")


@final
class _Type:
    """Stand-in for a NumPy element type; only unsigned bytes are known."""

    __slots__ = ()

    def __init__(self, code: object, *rest: object) -> None:
        del rest
        if code not in (b"u1", "u1", b"|u1", "|u1"):
            raise FileError(f"holds elements of type {shown(code)}, expected unsigned bytes.")

    def __setstate__(self, state: object) -> None:
        """Byte order and the like mean nothing for single bytes."""


@final
class _Array:
    """Stand-in for a NumPy array: remembers its state as plain values."""

    __slots__ = ("state",)

    def __init__(self, *args: object) -> None:
        del args
        self.state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state

    def pixels(self, name: str) -> Tensor:
        """The images, uint8, shape (N, 3, 32, 32); FileError unless (N, 3072) unsigned bytes."""
        match self.state:
            case (int(), (int() as count, int() as width), _Type(), fortran, bytes() as raw):
                if width == _PIXELS and count > 0 and len(raw) == count * width:
                    flat = np.frombuffer(raw, dtype=np.uint8)
                    rows = flat.reshape((count, width), order="F" if fortran else "C")
                    return torch.from_numpy(rows.reshape(-1, 3, 32, 32).copy())
        raise FileError(
            f"{name}: `data` is not an array of unsigned bytes of shape (N, {_PIXELS}) with at "
            "least one row; the file is damaged, or not CIFAR-10."
        )


def _encoded(text: object, encoding: object = "latin1") -> bytes:
    # Python 3 writes byte strings this way in protocol 2; the original files do not.
    if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
        raise FileError("holds a byte string in an unknown encoding.")
    return text.encode("latin1")


_STAND_INS: dict[tuple[str, str], Callable[..., object]] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,  # NumPy 1, as in the original files
    ("numpy._core.multiarray", "_reconstruct"): _Array,  # NumPy 2
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _encoded,
}
