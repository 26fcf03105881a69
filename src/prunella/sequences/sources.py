"""Tasks of sequences by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import get_args

from prunella.core.errors import FileError, InputError
from prunella.sequences.archives import ARCHIVES
from prunella.sequences.markets import MARKETS
from prunella.sequences.mazes import MAZES
from prunella.sequences.sets import SequenceSet
from prunella.sequences.task import Asked, Split, Task
from prunella.sequences.texts import TEXTS
from prunella.sequences.uci_sensors import UCI_SENSORS
from prunella.sequences.uci_series import UCI_SERIES

_ALL = (*MAZES, *MARKETS, *ARCHIVES, *TEXTS, *UCI_SERIES, *UCI_SENSORS)
TASKS: Mapping[str, Task] = MappingProxyType({task.name: task for task in _ALL})


def load(
    name: str,
    split: Split,
    *,
    data_dir: Path | str | None = None,
    seed: int = 0,
    count: int | None = None,
    length: int | None = None,
) -> SequenceSet:
    """A task by name; `TASKS` has them with a line on each.

    Args:
        name: A key of `TASKS`.
        split: "train", "validation" or "test". No walk, window or text is in two of them.
        data_dir: Folder with the files of the task, where it needs any.
        seed: Of all that is drawn: walks, or which sequences where there are more than `count`.
        count: Sequences, at most; None = the task's own number.
        length: Steps of a sequence, at most for texts; None = the task's own number.

    Raises:
        InputError: an unknown name or split, a number below 1, or a package with data is missing.
        FileError: files are missing or damaged.
    """
    if name not in TASKS:
        raise InputError(f"task {name!r}: expected one of {', '.join(TASKS)}.")
    if split not in get_args(Split):
        raise InputError(f"split {split!r}: expected one of {', '.join(get_args(Split))}.")
    if seed < 0 or (count is not None and count < 1) or (length is not None and length < 1):
        raise InputError(
            f"task {name!r} with seed {seed}, count {count} and length {length}: expected a seed "
            "of at least 0, and at least one sequence and one step."
        )
    if data_dir is not None:
        data_dir = Path(data_dir).expanduser()
        if not data_dir.is_dir():
            raise FileError(f"{data_dir}: no such folder; check data_dir (--data-dir).")
    return TASKS[name].make(
        Asked(split=split, data_dir=data_dir, seed=seed, count=count, length=length)
    )
