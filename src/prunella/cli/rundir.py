"""The directory of one run: everything it writes, and nothing else."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel

from prunella.cli.config import to_yaml
from prunella.core.errors import FileError, InputError, PrunellaError
from prunella.files.atomic import read_text, write_atomically

CONFIG = "config.yaml"


class Interrupted(PrunellaError):
    """The user pressed Ctrl-C; the message says how to go on."""

    exit_code = 130


@contextmanager
def interruptible(advice: str) -> Iterator[None]:
    """Turn Ctrl-C into `Interrupted` with a sentence on how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"Interrupted; all files written so far are whole. {advice}") from None


def choose_directory(out: Path | None, *, command: str, resume: bool) -> Path:
    """The directory of this run; nothing is made yet.

    Raises:
        InputError: it holds files of another run, and `resume` was not asked for.
    """
    if out is None:
        if resume:
            raise InputError("--resume needs --out with the directory of the interrupted run.")
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        return Path("runs") / f"{command}-{stamp}"
    if out.exists() and not out.is_dir():
        raise FileError(f"{out}: is a file; give a directory.")
    if not resume and out.is_dir() and any(out.iterdir()):
        raise InputError(
            f"{out}: holds files already; give another --out, or --resume to go on with the run "
            "in it."
        )
    return out


def write_config(directory: Path, config: BaseModel, *, resume: bool) -> None:
    """Write the resolved configuration, or check that a resumed run has the same.

    Raises:
        InputError: the run to resume was configured otherwise.
    """
    path = directory / CONFIG
    text = to_yaml(config)
    if resume and path.exists():
        if read_text(path) != text:
            raise InputError(
                f"{path}: the interrupted run was configured otherwise; resume it with "
                f"--config {path} and no other options, or start anew in another directory."
            )
        return
    write_atomically(path, text)


def command_line() -> str:
    """The command that is running, as it could be typed."""
    return shlex.join(["prunella", *sys.argv[1:]])
