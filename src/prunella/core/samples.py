"""Fingerprints of samples, so that data used twice is noticed."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from prunella.core.errors import FileError
from prunella.core.words import shown

_BYTES = 8  # 64 bits: among a million samples a chance collision has probability 3e-8


def fingerprints(
    inputs: Tensor,  # (N, ...)
    *others: Tensor,  # (N, ...) each
) -> list[int]:  # (N,)
    """64-bit BLAKE2b digest of each sample (first axis): shapes, types and bytes of all tensors."""
    digests = [hashlib.blake2b(digest_size=_BYTES) for _ in inputs]
    for tensor in (inputs, *others):
        rows = tensor.detach().cpu().contiguous()
        prefix = f"{rows.dtype}{tuple(rows.shape[1:])}".encode()
        for digest, row in zip(digests, rows, strict=True):
            digest.update(prefix)
            # Seen as bytes, because NumPy has no bfloat16.
            digest.update(row.reshape(-1).view(torch.uint8).numpy().tobytes())
    return [int.from_bytes(digest.digest(), "little") for digest in digests]


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleIds:
    """The set of samples that some step has seen.

    Attributes:
        hashes: 64-bit BLAKE2b digest of each distinct sample's bytes.
        count: Number of samples, repetitions included.
    """

    hashes: frozenset[int]
    count: int

    @staticmethod
    def none() -> SampleIds:
        """No samples."""
        return SampleIds(hashes=frozenset(), count=0)

    @staticmethod
    def of(
        inputs: Tensor,  # (N, ...)
        *others: Tensor,  # (N, ...) each
    ) -> SampleIds:
        """Fingerprint each sample (first axis) by shapes, types and bytes of all its tensors."""
        hashes = fingerprints(inputs, *others)
        return SampleIds(hashes=frozenset(hashes), count=len(hashes))

    @staticmethod
    def union(sets: Iterable[SampleIds]) -> SampleIds:
        """All samples of several sets; counts are added."""
        parts = list(sets)
        return SampleIds(
            hashes=frozenset().union(*(part.hashes for part in parts)),
            count=sum(part.count for part in parts),
        )

    def overlap(self, other: SampleIds) -> int:
        """Number of distinct samples in both."""
        return len(self.hashes & other.hashes)

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that name this set, whatever the order of its samples."""
        data = np.sort(np.fromiter(self.hashes, dtype=np.uint64, count=len(self.hashes)))
        return hashlib.blake2b(data.tobytes(), digest_size=_BYTES).hexdigest()

    def to_json(self) -> dict[str, object]:
        """Plain data; the hashes as base64 of sorted 64-bit integers."""
        data = np.sort(np.fromiter(self.hashes, dtype="<u8", count=len(self.hashes)))
        return {"count": self.count, "hashes": base64.b64encode(data.tobytes()).decode()}

    @staticmethod
    def from_json(data: object) -> SampleIds:
        """The inverse of `to_json`.

        Raises:
            FileError: the data is damaged.
        """
        count = data.get("count") if isinstance(data, dict) else None
        text = data.get("hashes") if isinstance(data, dict) else None
        if type(count) is not int or not isinstance(text, str):
            raise FileError(
                f"fingerprints of samples are {shown(data)}; expected a count and the hashes."
            )
        try:
            raw = base64.b64decode(text, validate=True)
        except ValueError as error:
            raise FileError(f"fingerprints of samples are no base64 ({error}).") from None
        values = np.frombuffer(raw[: len(raw) // _BYTES * _BYTES], dtype="<u8")
        hashes = frozenset(values.tolist())
        distinct = len(hashes) == len(values) and not len(raw) % _BYTES
        if not distinct or not len(hashes) <= count < 2**63 or bool(hashes) != bool(count):
            raise FileError(
                f"fingerprints of samples: {len(raw):,} bytes with {len(hashes):,} distinct "
                f"hashes, of {shown(count)} samples; expected {_BYTES} bytes for each distinct "
                "sample."
            )
        return SampleIds(hashes=hashes, count=count)
