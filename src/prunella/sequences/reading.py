"""Files of sequence data: found in a folder or an installed package, and read as tables or text."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from prunella.core.errors import FileError, InputError
from prunella.core.reading import read_at_most
from prunella.core.words import shown

Floats = NDArray[np.float64]

_MOST_BYTES = 1 << 30  # of one file, before and after unpacking
_MISSING = ("", "NA", "NaN", "?")


def package_file(package: str, inner: str, *, data_dir: Path | None) -> Path:
    """A file that comes with an optional package, which is looked up but not imported.

    Args:
        package: Name as it is imported.
        inner: Path below the package's folder.
        data_dir: Searched first, for a file of that name.

    Raises:
        InputError: the package is not installed.
        FileError: the installed package has no such file.
    """
    if data_dir is not None and (data_dir / Path(inner).name).is_file():
        return data_dir / Path(inner).name
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"{inner} comes with the package {package}, which is not installed; install it with "
            f"pip install 'prunella[sequences]', or name a folder that holds {Path(inner).name} "
            "with data_dir (--data-dir)."
        )
    path = Path(spec.submodule_search_locations[0]) / inner
    if not path.is_file():
        raise FileError(
            f"{path}: not there, though the package {package} is installed; expected the versions "
            "of constraints.txt."
        )
    return path


def folder_file(names: Sequence[str], *, data_dir: Path | None, advice: str) -> Path:
    """The first file of these names in a folder that the user gives.

    Raises:
        InputError: no folder is given.
        FileError: none of the files is in it.
    """
    if data_dir is None:
        raise InputError(
            f"{names[0]}: expected the folder that holds it, as data_dir (--data-dir). {advice}"
        )
    for name in names:
        if (data_dir / name).is_file():
            return data_dir / name
    raise FileError(f"{data_dir}: holds none of {', '.join(names)}. {advice}")


def read_text(path: Path, *, encoding: str = "utf-8") -> str:
    """Content of a text file, plain or gzip-compressed; a byte order mark is dropped.

    Raises:
        FileError: missing, too long, damaged, or in another encoding.
    """
    raw = read_at_most(path, _MOST_BYTES)
    if raw[:2] == b"\x1f\x8b":
        try:
            with gzip.open(io.BytesIO(raw)) as stream:
                raw = stream.read(_MOST_BYTES + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise FileError(f"{path}: damaged gzip file ({error}); fetch it again.") from None
        if len(raw) > _MOST_BYTES:
            raise FileError(f"{path}: unpacks to more than {_MOST_BYTES:,} bytes.")
    return decoded(raw, name=str(path), encoding=encoding)


def decoded(raw: bytes, *, name: str, encoding: str = "utf-8") -> str:
    """Bytes as text without a byte order mark; `name` is used in messages."""
    try:
        return raw.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise FileError(
            f"{name}: byte {error.start} is no {encoding} text; expected the published file."
        ) from None


def read_table(
    path: Path, names: Sequence[str], *, delimiter: str = ",", headed: bool = True
) -> dict[str, list[str]]:
    """Some columns of a table, as text, by name.

    Args:
        path: The file.
        names: Of the wanted columns; without a header those of all columns, in order.
        delimiter: Between the fields.
        headed: Whether the first row has the names. Rows of nothing but empty fields are skipped.

    Raises:
        FileError: a column is missing, a row is shorter than it must be, or there is none.
    """
    lines = csv.reader(io.StringIO(read_text(path)), delimiter=delimiter)
    header = [field.strip() for field in next(lines, [])] if headed else list(names)
    absent = [name for name in names if name not in header]
    if absent:
        raise FileError(
            f"{path}: has no column {absent[0]!r}; its first row is {shown(header)}, expected "
            f"{', '.join(names)}."
        )
    places = [header.index(name) for name in names]
    columns: dict[str, list[str]] = {name: [] for name in names}
    for row in lines:
        if not any(field.strip() for field in row):
            continue
        if len(row) <= max(places):
            raise FileError(
                f"{path}, line {lines.line_num}: {len(row)} fields, expected at least "
                f"{max(places) + 1}; the file is truncated or damaged."
            )
        for name, place in zip(names, places, strict=True):
            columns[name].append(row[place].strip())
    if not columns[names[0]]:
        raise FileError(f"{path}: has no rows of data.")
    return columns


def numbers(
    columns: Mapping[str, Sequence[str]],
    names: Sequence[str],
    *,
    path: Path,
    decimal: str = ".",
    missing: float | None = None,
) -> Floats:  # (S, D)
    """Columns as numbers; what is missing becomes NaN.

    Args:
        columns: As `read_table` makes them.
        names: Of the D columns.
        path: For messages.
        decimal: Sign before the decimals.
        missing: A number that stands for a missing one, beside empty fields, NA, NaN and "?".

    Raises:
        FileError: a field is no number.
    """
    values = np.empty((len(columns[names[0]]), len(names)))
    for place, name in enumerate(names):
        for row, field in enumerate(columns[name]):
            if field in _MISSING:
                values[row, place] = np.nan
                continue
            try:
                values[row, place] = float(field.replace(decimal, "."))
            except ValueError:
                raise FileError(
                    f"{path}: {shown(field)} in column {name!r}, row {row + 1} of the data; "
                    "expected a number."
                ) from None
    if missing is not None:
        values[values == missing] = np.nan
    return values
