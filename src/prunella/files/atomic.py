"""Files appear whole under their final name, or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from prunella.core.errors import FileError
from prunella.core.jsontext import MOST_TEXT
from prunella.core.reading import read_at_most


def write_atomically(path: Path, content: str | bytes | Callable[[Path], None]) -> None:
    """Write a file beside its place, then move it there in one step.

    Args:
        path: Final name; missing folders are made.
        content: Text, bytes, or a function that writes to the path it is given.

    Raises:
        FileError: the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    except OSError as error:
        raise FileError(f"{path}: cannot be written ({error.strerror}).") from None
    os.close(handle)
    part = Path(name)
    try:
        if callable(content):
            content(part)
        else:
            part.write_bytes(content.encode() if isinstance(content, str) else content)
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.chmod(0o644)
        part.replace(path)
    except OSError as error:
        raise FileError(f"{path}: cannot be written ({error.strerror}).") from None
    finally:
        part.unlink(missing_ok=True)


def read_text(path: Path) -> str:
    """Text of an ordinary file.

    Raises:
        FileError: it is missing, no text, or far longer than any text that prunella writes.
    """
    try:
        return read_at_most(path, MOST_TEXT).decode("utf-8")
    except UnicodeDecodeError as error:
        raise FileError(f"{path}: cannot be read as text ({error}).") from None
