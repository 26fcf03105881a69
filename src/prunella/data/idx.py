"""The IDX format of MNIST and Fashion-MNIST.

Format: two zero bytes, one byte for the type of the elements (0x08 = unsigned byte), one byte for
the number of axes, each axis as a big-endian 32-bit integer, then the elements in C order. Files
may be compressed with gzip.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from prunella.core.errors import FileError
from prunella.core.reading import read_at_most
from prunella.data.files import MOST_BYTES, unpack

_UNSIGNED_BYTE = 0x08
_MOST_AXES = 8


def read_idx(path: Path) -> Tensor:
    """Read an IDX file of unsigned bytes, plain or gzip-compressed.

    Returns:
        uint8 tensor with the axes named in the file's head.

    Raises:
        FileError: the file is missing, damaged, or holds another type.
    """
    return decode_idx(read_maybe_gzip(path), name=str(path))


def read_maybe_gzip(path: Path) -> bytes:
    """Content of a file, unpacked if it is gzip-compressed.

    Raises:
        FileError: the file is missing, cannot be read, or is damaged.
    """
    return unpack(read_at_most(path, MOST_BYTES), name=str(path))


def decode_idx(raw: bytes, *, name: str) -> Tensor:
    """Decode the bytes of an IDX file of unsigned bytes; `name` is used in messages."""
    if len(raw) < 4 or raw[:2] != b"\0\0":
        raise FileError(f"{name}: not an IDX file (it must begin with two zero bytes).")
    kind, axes = raw[2], raw[3]
    if axes > _MOST_AXES:
        raise FileError(f"{name}: {axes} axes, at most {_MOST_AXES} are read; the file is damaged.")
    if kind != _UNSIGNED_BYTE:
        raise FileError(f"{name}: element type 0x{kind:02x}, expected unsigned bytes (0x08).")
    start = 4 + 4 * axes
    if len(raw) < start:
        raise FileError(
            f"{name}: {len(raw)} bytes, too few for the sizes of {axes} axes; the file is "
            "truncated, fetch it again."
        )
    shape = tuple(int(n) for n in np.frombuffer(raw[4:start], dtype=">u4"))
    expected = start + math.prod(shape)
    if len(raw) != expected or math.prod(max(1, n) for n in shape) >= 2**63:
        raise FileError(
            f"{name}: {len(raw)} bytes, expected {expected} for shape {shape}; "
            "the file is truncated or damaged, fetch it again."
        )
    return torch.from_numpy(np.frombuffer(raw, dtype=np.uint8, offset=start).reshape(shape).copy())


def encode_idx(values: Tensor) -> bytes:
    """The bytes of an IDX file for a uint8 tensor of any shape."""
    head = bytes([0, 0, _UNSIGNED_BYTE, values.ndim])
    sizes = np.asarray(values.shape, dtype=">u4").tobytes()
    return head + sizes + values.contiguous().numpy().tobytes()
