"""The IDX reader."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prunella.core.errors import FileError
from prunella.data.idx import decode_idx, encode_idx, read_idx


@given(
    shape=st.lists(st.integers(0, 5), min_size=1, max_size=4),
    seed=st.integers(0, 2**31),
)
def test_round_trip(shape: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(0, 256, shape, generator=generator).to(torch.uint8)
    again = decode_idx(encode_idx(values), name="x")
    assert again.dtype == torch.uint8
    assert again.shape == values.shape
    assert torch.equal(again, values)


def test_known_bytes() -> None:
    # written by hand after the format's description
    raw = bytes.fromhex("00000802 00000002 00000003 010203 fdfeff")
    assert decode_idx(raw, name="x").tolist() == [[1, 2, 3], [253, 254, 255]]


def test_encodes_a_transposed_tensor_in_its_own_order() -> None:
    values = torch.arange(6, dtype=torch.uint8).reshape(2, 3).T
    assert decode_idx(encode_idx(values), name="x").tolist() == [[0, 3], [1, 4], [2, 5]]


@given(cut=st.integers(0, 20), seed=st.integers(0, 100))
def test_every_truncation_is_refused(cut: int, seed: int) -> None:
    raw = encode_idx(torch.full((3, 3), seed, dtype=torch.uint8))
    assert len(raw) == 21
    with pytest.raises(FileError, match=r"^x: "):
        decode_idx(raw[:cut], name="x")


def test_extra_bytes_are_refused() -> None:
    raw = encode_idx(torch.zeros(3, 3, dtype=torch.uint8))
    with pytest.raises(FileError, match="22 bytes, expected 21"):
        decode_idx(raw + b"\0", name="x")


def test_wrong_magic() -> None:
    with pytest.raises(FileError, match="two zero bytes"):
        decode_idx(b"\x01\x00\x08\x01\x00\x00\x00\x00", name="x")


@pytest.mark.parametrize("kind", [0x09, 0x0B, 0x0D])
def test_wrong_type(kind: int) -> None:
    with pytest.raises(FileError, match=f"0x{kind:02x}"):
        decode_idx(bytes([0, 0, kind, 1, 0, 0, 0, 0]), name="x")


def test_reads_plain_and_gzip(tmp_path: Path) -> None:
    values = torch.arange(12, dtype=torch.uint8).reshape(3, 4)
    (tmp_path / "plain").write_bytes(encode_idx(values))
    (tmp_path / "packed").write_bytes(gzip.compress(encode_idx(values)))
    assert torch.equal(read_idx(tmp_path / "plain"), values)
    assert torch.equal(read_idx(tmp_path / "packed"), values)


def test_damaged_gzip_and_missing_file(tmp_path: Path) -> None:
    packed = gzip.compress(encode_idx(torch.zeros(100, dtype=torch.uint8)))
    (tmp_path / "short").write_bytes(packed[:-9])
    with pytest.raises(FileError, match="short: damaged gzip"):
        read_idx(tmp_path / "short")
    flipped = bytearray(packed)
    flipped[-5] ^= 0xFF  # in the checksum
    (tmp_path / "flipped").write_bytes(flipped)
    with pytest.raises(FileError, match="flipped: damaged gzip"):
        read_idx(tmp_path / "flipped")
    with pytest.raises(FileError, match="absent: no such file"):
        read_idx(tmp_path / "absent")
    with pytest.raises(FileError, match="cannot be read"):
        read_idx(tmp_path)
