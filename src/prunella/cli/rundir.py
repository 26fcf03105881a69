"""The directory of one run: everything it writes, and nothing else."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from pydantic import BaseModel

from prunella.cli.config import resolve, to_yaml
from prunella.cli.interrupts import Interrupted
from prunella.cli.invocation import program
from prunella.core.errors import FileError, InputError, PrunellaError
from prunella.files.atomic import write_atomically
from prunella.files.stages import StageFiles

CONFIG = "config.yaml"


@contextmanager
def run_in(directory: Path, *, command: str, epochs: int) -> Iterator[None]:
    """Do the work of a run; whatever stops it, its directory stays only if it is of use.

    - Ctrl-C leaves the directory as soon as it holds a configuration, and says how to go on.
    - A mistake in data, model or settings would come again, so a new run leaves nothing behind,
      unless it is found when all training is done.
    - A failure to write (a full disk), or a bug, leaves the directory if results were stored.

    Args:
        directory: Of the run; made by whatever is written first.
        command: "train" or "prune", for the command that goes on.
        epochs: Epochs of (re)training in all.
    """
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    fresh = not (directory / CONFIG).exists()
    again = shlex.join(
        [*program().split(), command, "--config", str(directory / CONFIG),
         "--out", str(directory), "--resume"]
    )  # fmt: skip
    try:
        yield
    except KeyboardInterrupt:
        _remove_parts(directory)
        _stop(directory, again)
    except FileError as error:
        if not _has_results(directory):
            if fresh:
                _undo(directory, missing)
            raise
        if not fresh:
            raise  # a stored result is damaged, or the same command was typed before
        raise FileError(f"{error} The results so far are kept; go on with: {again}") from None
    except PrunellaError as error:
        if fresh and not _training_done(directory, epochs):
            _undo(directory, missing)
        if not fresh or not _training_done(directory, epochs):
            raise
        kept = f"The trained network is kept; when the cause is mended, go on with: {again}"
        raise type(error)(f"{error} {kept}") from None
    except BaseException:
        if fresh and not _has_results(directory):
            _undo(directory, missing)
        raise


def choose_directory(out: Path | None, *, command: str, resume: bool) -> Path:
    """The directory of this run; nothing is made yet.

    Raises:
        InputError: it holds files of another run, and `resume` was not asked for; or files that
            no run has written.
        FileError: it cannot be made.
    """
    if out is None:
        if resume:
            raise InputError("--resume needs --out with the directory of the interrupted run.")
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        out = Path("runs") / f"{command}-{stamp}"
    if out.exists() and not out.is_dir():
        raise FileError(f"--out {out}: is a file; give a directory.")
    require_writable(out, option="--out")
    if not out.is_dir() or not any(out.iterdir()):
        return out
    if not resume:
        advice = "" if command == "demo" else ", or --resume to go on with the run in it"
        raise InputError(f"--out {out}: holds files already; give another directory{advice}.")
    if not (out / CONFIG).exists():
        raise InputError(
            f"--out {out}: holds files but no {CONFIG}, so there is no run to resume; give another "
            "directory."
        )
    return out


def require_writable(path: Path, *, option: str) -> None:
    """Raise FileError unless a directory can be made, and written, at `path`."""
    nearest = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    if not nearest.is_dir():
        raise FileError(f"{option} {path}: {nearest} is a file, so nothing can lie below it.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise FileError(f"{option} {path}: no permission to write in {nearest}.")


def require_file(path: Path, *, option: str) -> None:
    """Raise FileError unless there is a file."""
    if not path.is_file():
        what = "is a directory" if path.is_dir() else "no such file"
        raise FileError(f"{option} {path}: {what}; give the path of a file.")


def write_config(directory: Path, config: BaseModel) -> None:
    """Write the resolved configuration, unless it is there already."""
    if not (directory / CONFIG).exists():
        write_atomically(directory / CONFIG, to_yaml(config))


def check_same_config(directory: Path, config: BaseModel) -> None:
    """Raise InputError, naming the differences, if the run in a directory was configured otherwise.

    Fields that the file lacks, because an older prunella wrote it, count as their defaults.
    """
    path = directory / CONFIG
    if not path.exists():
        return
    old, new = (_flat(c.model_dump(mode="json")) for c in (resolve(type(config), path, {}), config))
    names = [name for name in (*old, *new) if old.get(name) != new.get(name)]
    if names:
        differences = ", ".join(
            f"{name} {old.get(name)}, now {new.get(name)}" for name in dict.fromkeys(names)
        )
        raise InputError(
            f"{path}: the run to resume was configured otherwise ({differences}); resume it with "
            f"--config {path} and no other options, or start anew in another directory."
        )


def stages_left(directory: Path) -> bool:
    """Whether the directory holds results that only an unfinished run needs."""
    stages = StageFiles(directory)
    return stages.load_scores() is not None or stages.load_training() is not None


def _stop(directory: Path, again: str) -> NoReturn:
    if not (directory / CONFIG).exists():
        raise Interrupted("Interrupted. Nothing was written; run the same command again.") from None
    raise Interrupted(
        f"Interrupted. All files written so far are whole; go on with: {again}"
    ) from None


def _training_done(directory: Path, epochs: int) -> bool:
    checkpoint = StageFiles(directory).load_training()
    return checkpoint is not None and checkpoint.epoch >= epochs


def _has_results(directory: Path) -> bool:
    return any(directory.glob("*.safetensors"))


def _undo(directory: Path, missing: Sequence[Path]) -> None:
    """Remove what a run without results has written, and the directories made for it."""
    StageFiles(directory).clear()
    (directory / CONFIG).unlink(missing_ok=True)
    for path in missing:
        with suppress(OSError):  # somebody else has put something there
            path.rmdir()


def _remove_parts(directory: Path) -> None:
    for part in directory.glob(".*.part"):
        part.unlink(missing_ok=True)


def _flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in data.items():
        inner = _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {}
        flat |= inner or {f"{prefix}{name}": value}
    return flat
