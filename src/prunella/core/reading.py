"""Bytes of files that nobody vouches for: ordinary files only, and never more than expected."""

from __future__ import annotations

from pathlib import Path

from prunella.core.errors import FileError
from prunella.core.words import one_line


def require_ordinary_file(path: Path, *, advice: str = "") -> int:
    """The size of a file in bytes; devices and pipes, which may never end, are refused.

    Args:
        path: May be a link to a file.
        advice: What to do, for the message on a missing file.

    Raises:
        FileError: it is missing, or no ordinary file.
    """
    try:
        if path.is_file():
            return path.stat().st_size
        what = "is a directory" if path.is_dir() else "is a device or a pipe, no ordinary file"
        missing = not path.exists()
    except OSError as error:  # a name too long, a folder that may not be entered
        raise FileError(f"{path}: cannot be read ({error.strerror or one_line(error)}).") from None
    except ValueError:  # what no file system accepts as a name, in some versions of Python
        missing = True
    if missing:
        raise FileError(f"{path}: no such file{f'; {advice}' if advice else ''}.")
    raise FileError(f"{path}: cannot be read ({what}){f'; {advice}' if advice else ''}.")


def read_at_most(path: Path, limit: int) -> bytes:
    """Content of an ordinary file of at most `limit` bytes.

    Raises:
        FileError: it is missing, longer, no ordinary file, or cannot be read.
    """
    size = require_ordinary_file(path)
    if size > limit:
        raise FileError(
            f"{path}: {size:,} bytes, more than the {limit:,} that are read; it is damaged or "
            "something else."
        )
    try:
        with path.open("rb") as stream:
            return stream.read(size)  # no more, should it grow meanwhile
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror or one_line(error)}).") from None
