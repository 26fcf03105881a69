"""How far a pass over samples has come, in a file, so that it can go on after an interruption."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from prunella.core.errors import FileError, InputError
from prunella.core.jsontext import read_json
from prunella.core.samples import SampleIds
from prunella.core.words import one_line, shown
from prunella.files.fields import entries, items, text, whole
from prunella.files.weights import read_tensors, save_tensors
from prunella.sensitivity import PassState

FORMAT_VERSION = "1"

_FORMAT = "prunella-pass"


@final
class PassFile:
    """The state of one pass of `sensitivities`, in a safetensors file.

    It is written whole or not at all, every so often and when the pass is done. What is in it then
    still serves a script that is stopped later; delete the file when the scores are no longer
    needed.
    """

    def __init__(self, path: str | Path, *, every_s: float = 60.0) -> None:
        """Nothing is read or written yet.

        Args:
            path: Of the file; read if it exists.
            every_s: Seconds of work that may be lost: the state is written after the first batch
                that ends later than that; 0 for every batch.

        Raises:
            InputError: `every_s` is negative or no number.
        """
        if not every_s >= 0:
            raise InputError(
                f"PassFile: every_s is {every_s!r}; expected seconds from one writing to the next, "
                "0 or more."
            )
        self.path = Path(path)
        self._every_s = every_s

    @property
    def source(self) -> str:
        """The path."""
        return str(self.path)

    @property
    def every_s(self) -> float:
        """Seconds from one writing to the next."""
        return self._every_s

    def save(self, state: PassState) -> None:
        """Write a state, atomically.

        Raises:
            FileError: it cannot be written.
        """
        header = {
            "format": "pt",
            _FORMAT: FORMAT_VERSION,
            "origin": json.dumps(dict(state.origin)),
            "counted": json.dumps([[*key, sums] for key, sums in state.counted.items()]),
            "samples": json.dumps(state.samples.to_json()),
        }
        save_tensors(self.path, state.best, header)

    def load(self) -> PassState | None:
        """The state that was written last; None if there is no file.

        Raises:
            FileError: the file is damaged, or is no such file.
        """
        if not self.path.exists():
            return None
        try:
            tensors, header = read_tensors(self.path)
            if header.get(_FORMAT) != FORMAT_VERSION:
                raise ValueError(f"no {_FORMAT} of version {FORMAT_VERSION}")
            return PassState(
                origin=entries(read_json(header["origin"]), "origin", text),
                best=_checked(tensors),
                counted=dict(
                    _counted(row, f"counted[{i}]")
                    for i, row in enumerate(items(read_json(header["counted"]), "counted"))
                ),
                samples=SampleIds.from_json(read_json(header["samples"])),
            )
        except (KeyError, ValueError) as error:
            raise FileError(
                f"{self.path}: no whole file of an unfinished pass ({one_line(error)}); delete it, "
                "and the pass begins anew; no other result depends on it."
            ) from None

    def clear(self) -> None:
        """Remove the file, if there is one."""
        self.path.unlink(missing_ok=True)


def _checked(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    for name, best in tensors.items():
        fits = best.ndim == 1 and best.dtype is torch.float64
        if not fits or not bool((best.isfinite() & (best >= 0)).all()):
            raise ValueError(f"the shares of {shown(name)} are not numbers from 0 up")
    return dict(tensors)


def _counted(row: Any, where: str) -> tuple[tuple[str, str, int], int]:
    group, tensor, axis, sums = items(row, where, count=4)
    key = (text(group, where), text(tensor, where), whole(axis, where))
    return key, whole(sums, where)
