"""CIFAR-10 in both formats; pickles that would do harm."""

from __future__ import annotations

import io
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prunella.core.errors import FileError
from prunella.data import cifar
from prunella.data.cifar import decode_cifar10, read_cifar10

Bytes = np.ndarray[tuple[int, int], np.dtype[np.uint8]]


def samples(count: int, seed: int = 0) -> tuple[Bytes, list[int]]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 3072), dtype=np.uint8), rng.integers(0, 10, count).tolist()


def binary(data: Bytes, labels: list[int]) -> bytes:
    return b"".join(bytes([y]) + row.tobytes() for row, y in zip(data, labels, strict=True))


def text(value: bytes) -> bytes:
    """A string as Python 2 pickles it in protocol 2."""
    if len(value) < 256:
        return b"U" + bytes([len(value)]) + value
    return b"T" + struct.pack("<i", len(value)) + value


def number(value: int) -> bytes:
    return b"K" + bytes([value]) if 0 <= value < 256 else b"J" + struct.pack("<i", value)


def python2(data: Bytes, labels: list[int], *, kind: bytes = b"u1", fortran: bool = False) -> bytes:
    """A batch as Python 2 and NumPy 1 wrote the published files, opcode by opcode."""
    rows, width = data.shape
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n"
        + b"cnumpy\nndarray\n"
        + b"K\x00\x85"
        + text(b"b")
        + b"\x87R"
        + b"(K\x01"
        + number(rows)
        + number(width)
        + b"\x86"
        + b"cnumpy\ndtype\n"
        + text(kind)
        + b"K\x00K\x01\x87R"
        + b"(K\x03"
        + text(b"|")
        + b"NNN"
        + number(-1)
        + number(-1)
        + b"K\x00tb"
        + (b"\x88" if fortran else b"\x89")
        + text(data.tobytes(order="F" if fortran else "C"))
        + b"tb"
    )
    numbers = b"](" + b"".join(number(y) for y in labels) + b"e"
    names = b"](" + b"".join(text(b"%d.png" % i) for i in range(rows)) + b"e"
    return (
        b"\x80\x02}("
        + text(b"batch_label")
        + text(b"training batch 1 of 5")
        + text(b"labels")
        + numbers
        + text(b"data")
        + array
        + text(b"filenames")
        + names
        + b"u."
    )


def python3(data: Bytes, labels: list[int], protocol: int = 2) -> bytes:
    return pickle.dumps({b"data": data, b"labels": labels}, protocol=protocol)


FORMATS: dict[str, Callable[[Bytes, list[int]], bytes]] = {
    "binary": binary,
    "python 2": python2,
    "python 3": python3,
}


def test_the_hand_written_pickle_is_what_pickle_reads() -> None:
    data, labels = samples(3)
    # A name of NumPy 1 that NumPy 2 has moved; plain pickle.loads is safe on bytes made here.
    raw = python2(data, labels).replace(b"numpy.core.multiarray", b"numpy._core.multiarray")
    content = pickle.loads(raw, encoding="bytes")
    assert content[b"labels"] == labels
    assert np.array_equal(content[b"data"], data)
    assert content[b"filenames"] == [b"0.png", b"1.png", b"2.png"]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("count", [1, 7, 300])
def test_reads_every_format(name: str, count: int, tmp_path: Path) -> None:
    data, labels = samples(count, seed=count)
    path = tmp_path / "batch"
    path.write_bytes(FORMATS[name](data, labels))
    images, got = read_cifar10(path)
    assert images.shape == (count, 3, 32, 32)
    assert got.tolist() == labels
    # plane by plane: pixel (row 5, column 6) of green is byte 1024 + 5 * 32 + 6
    assert images[:, 1, 5, 6].tolist() == data[:, 1024 + 5 * 32 + 6].tolist()
    assert np.array_equal(images.numpy().reshape(count, 3072), data)


def test_fortran_order() -> None:
    data, labels = samples(4)
    images, _ = decode_cifar10(python2(data, labels, fortran=True), name="x")
    assert np.array_equal(images.numpy().reshape(4, 3072), data)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("label", [10, 127])
def test_label_out_of_range(name: str, label: int) -> None:
    data, _ = samples(2)
    with pytest.raises(FileError, match=f"^x: labels run from 3 to {label}, expected 0 to 9"):
        decode_cifar10(FORMATS[name](data, [3, label]), name="x")


@pytest.mark.parametrize("labels", [[1], [1, 2, 3], [1, 2.0], [1, "2"], [True, 1], [1, 2**70]])
def test_labels_that_do_not_fit(labels: list[int]) -> None:
    data, _ = samples(2)
    with pytest.raises(FileError, match=r"integer labels|expected 0 to 9"):
        decode_cifar10(python3(data, labels), name="x")


@pytest.mark.parametrize("raw", [b"", b"\x01" * 3072, b"\x01" * 3074])
def test_binary_of_wrong_length(raw: bytes) -> None:
    with pytest.raises(FileError, match=f"^x: {len(raw):,} bytes, expected a positive multiple"):
        decode_cifar10(raw, name="x")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_truncated_pickle(share: float) -> None:
    raw = python2(*samples(3))
    with pytest.raises(FileError, match=r"^x: not a readable CIFAR-10 batch"):
        decode_cifar10(raw[: int(share * len(raw))], name="x")


def test_other_element_types_are_refused() -> None:
    data, labels = samples(2)
    with pytest.raises(FileError, match="elements of type b'f4', expected unsigned bytes"):
        decode_cifar10(python2(data, labels, kind=b"f4"), name="x")


@pytest.mark.parametrize("shape", [(2, 3071), (3, 1024), (0, 3072)])
def test_other_shapes_are_refused(shape: tuple[int, int]) -> None:
    data = np.zeros(shape, dtype=np.uint8)
    with pytest.raises(FileError, match="not an array of unsigned bytes"):
        decode_cifar10(python2(data, [1] * shape[0]), name="x")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ([1, 2], "holds a list, expected a dictionary"),
        ({b"data": b"123", b"labels": [1]}, "expected an array `data`"),
        ({b"labels": [1]}, "expected an array `data`"),
        ({b"data": [[1]], b"labels": (1,)}, "expected an array `data`"),
    ],
)
def test_other_content_is_refused(content: object, what: str) -> None:
    with pytest.raises(FileError, match=f"^x: .*{what}"):
        decode_cifar10(pickle.dumps(content, protocol=3), name="x")


class Call:
    """Pickles to a call of the given function."""

    def __init__(self, function: Callable[..., object], *args: object) -> None:
        self.call = (function, args)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("function", [os.system, eval, exec, print, getattr, np.load])
def test_calls_are_refused_and_do_not_run(
    function: Callable[..., object], protocol: int, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    command = f"touch {mark}" if function is os.system else f"open({str(mark)!r}, 'w').close()"
    data, labels = samples(1)
    raw = pickle.dumps(
        {b"x": Call(function, command), b"data": data, b"labels": labels}, protocol=protocol
    )
    with pytest.raises(FileError, match="could run code; the file was not opened"):
        decode_cifar10(raw, name="x")
    assert not mark.exists()


def test_the_harmful_pickle_would_have_run(tmp_path: Path) -> None:
    # else the test above would prove nothing
    mark = tmp_path / "mark"
    pickle.loads(pickle.dumps(Call(os.system, f"touch {mark}")))
    assert mark.exists()


@pytest.mark.parametrize(
    "raw",
    [
        b"\x80\x02cbuiltins\neval\nU\x01 \x85R.",
        b"\x80\x02cnumpy.core.multiarray\nscalar\n.",
        b"\x80\x02cnumpy\nload\n.",
        b"\x80\x02cprunella.data.cifar\n_Name\n.",
        b"\x80\x04\x8c\x05numpy\x8c\rndarray.tofile\x93.",  # dotted names reach attributes
        b"\x80\x02U\x01aQ.",  # persistent identifier
        b"\x80\x02c_codecs\nencode\n}U\x01aK\x01sb.",  # alters a function
        b"\x80\x02cnumpy\nndarray\nN}X\x05\x00\x00\x00stateK\x01s\x86b.",
        b"\x80\x02c_codecs\nencode\nN}X\x0c\x00\x00\x00__defaults__K\x01\x85s\x86b.",
        b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00hex\x86R.",
    ],
)
def test_other_ways_in_are_refused(raw: bytes) -> None:
    with pytest.raises(FileError, match=r"^x: "):
        decode_cifar10(raw, name="x")
    # and nothing was altered for the next file
    assert cifar._encoded.__defaults__ == ("latin1",)
    assert not cifar._encoded.__dict__
    data, labels = samples(2)
    assert decode_cifar10(python2(data, labels), name="y")[1].tolist() == labels
    assert decode_cifar10(python3(data, labels), name="y")[1].tolist() == labels


VALID = python2(*samples(1))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_damage_never_escapes_as_another_error(data: st.DataObject) -> None:
    # the structure is in the first and last few hundred bytes; the middle is pixels
    ends = st.one_of(st.integers(1, 300), st.integers(len(VALID) - 60, len(VALID) - 1))
    raw = bytearray(VALID)
    for position in data.draw(st.lists(ends, min_size=1, max_size=4)):
        raw[position] = data.draw(st.integers(0, 255))
    try:
        images, labels = decode_cifar10(bytes(raw), name="x")
    except FileError:
        return
    assert images.shape == (len(labels), 3, 32, 32)
    assert 0 <= int(labels.min()) <= int(labels.max()) <= 9


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="absent: no such file"):
        read_cifar10(tmp_path / "absent")


def test_newer_protocols_with_byte_arrays_are_read_or_refused() -> None:
    data, labels = samples(2)
    assert decode_cifar10(python3(data, labels, 3), name="x")[1].tolist() == labels
    assert decode_cifar10(python3(data, labels, 4), name="x")[1].tolist() == labels
    stream = io.BytesIO()
    pickle.Pickler(stream, protocol=5).dump({b"data": data, b"labels": labels})
    with pytest.raises(FileError, match="_frombuffer"):
        decode_cifar10(stream.getvalue(), name="x")
