"""Files of public data sets: found, checked against their known content, downloaded."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import io
import math
import os
import secrets
import tarfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from prunella.core.errors import FileError
from prunella.core.progress import Progress, silent
from prunella.core.reading import read_at_most

_CHUNK = 1 << 18  # bytes read at a time; also the unit of the progress bar
_TIMEOUT_S = 30.0
# Images and labels that compress further than this are not met; a file made to exhaust the memory
# unpacks to a thousand times its size.
_MOST_TIMES = 100
_MOST_FOR_ALL = 64 << 20  # bytes; labels in order compress very far, but stay small
MOST_BYTES = 16 << 30  # of a file read into memory; beyond this a machine would only start to swap
_MOST_UNKNOWN = 64 << 20  # bytes of a known file of which only the digest is known
_GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownFile:
    """A file whose content is known in advance.

    Attributes:
        name: File name, without a folder and without `.gz`.
        sha256: Digest of the content after unpacking, 64 hexadecimal digits.
        size: Bytes after unpacking, or None where only the digest is known.
    """

    name: str
    sha256: str
    size: int | None = None


def cache_folder(dataset: str) -> Path:
    """Where downloads of a data set are kept: `prunella/NAME` in the user's cache folder."""
    return _cache_root() / "prunella" / dataset


def _cache_root() -> Path:
    # The XDG base directory specification asks for relative values to be ignored.
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return given if given.is_absolute() else Path.home() / ".cache"


def find_file(known: KnownFile, folders: Iterable[Path]) -> Path | None:
    """The first existing file of that name, plain or with `.gz`; None if there is none."""
    for folder in folders:
        for name in (known.name, f"{known.name}.gz"):
            if (folder / name).is_file():
                return folder / name
    return None


def unpack(raw: bytes, *, name: str, limit: int | None = None) -> bytes:
    """Undo gzip compression where there is any; stops after `limit` + 1 bytes.

    Args:
        raw: Content of a file.
        name: For messages.
        limit: Expected bytes. None = as many as any sensible file of this size may hold: 100 times
            as many, or 64 MiB.

    Raises:
        FileError: the compressed content is damaged, or longer than sensible.
    """
    if raw[:2] != _GZIP_MAGIC:
        return raw
    sensible = max(_MOST_FOR_ALL, _MOST_TIMES * len(raw))
    try:
        with gzip.open(io.BytesIO(raw)) as stream:
            content = stream.read((sensible if limit is None else limit) + 1)
        if limit is None and len(content) > sensible:
            raise FileError(
                f"{name}: {len(raw):,} bytes that unpack to more than {sensible:,}, which no "
                "images do; fetch it again, or unpack it with gunzip if it is meant to be so."
            )
        return content
    except FileError:
        raise
    except (OSError, EOFError, zlib.error) as error:
        raise FileError(f"{name}: damaged gzip file ({error}); fetch it again.") from None


def read_checked(path: Path, known: KnownFile, *, others: Mapping[str, str] | None = None) -> bytes:
    """Unpacked content of a file, after comparison with its known size and digest.

    Args:
        path: The file, plain or gzip-compressed.
        known: What it must hold.
        others: Digest to description of other known files, to tell a user what was found instead.

    Raises:
        FileError: unreadable, damaged, or with other content.
    """
    limit = _MOST_UNKNOWN if known.size is None else known.size
    # A compressed file may be a little longer than what it holds.
    raw = read_at_most(path, limit + limit // 8 + _CHUNK)
    content = unpack(raw, name=str(path), limit=limit)
    digest = hashlib.sha256(content).hexdigest()
    if digest == known.sha256 and known.size in (None, len(content)):
        return content
    what = (others or {}).get(digest)
    if what is not None:
        found = f"this is {what}"
    elif known.size is not None and len(content) != known.size:
        more = "more than " if len(content) > known.size else ""
        shown = min(len(content), known.size)
        found = f"{more}{shown:,} bytes unpacked, expected {known.size:,}"
    else:
        found = f"its SHA-256 is {digest[:16]}..., expected {known.sha256[:16]}..."
    raise FileError(
        f"{path}: not the published {known.name} ({found}). The file is damaged, or belongs to "
        "another data set; remove it and fetch it again, or name another folder with "
        "data_dir (--data-dir)."
    )


@contextmanager
def _whole_or_nothing(target: Path) -> Iterator[tuple[IO[bytes], Path]]:
    """A temporary file beside `target` that takes its place at the end, or vanishes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{secrets.token_hex(8)}.part")
    try:
        with part.open("xb") as stream:
            yield stream, part
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def download(
    url: str,
    target: Path,
    *,
    check: Callable[[Path], object],
    limit: int,
    progress: Progress = silent,
) -> None:
    """Fetch a file; it appears under its name only when whole and checked.

    Args:
        url: http or https address.
        target: Where it goes; an existing file is replaced.
        check: Raises FileError if the fetched file is not the right one.
        limit: Largest number of bytes that is accepted.
        progress: Told of every quarter of a mebibyte.

    Raises:
        FileError: not reachable, interrupted, too long, refused by `check`, or no room.
    """
    if not url.startswith(("http://", "https://")):
        raise FileError(f"{url}: not an http or https address.")
    request = urllib.request.Request(url, headers={"User-Agent": "prunella"})
    try:
        with (
            urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response,
            _whole_or_nothing(target) as (stream, part),
        ):
            length = response.headers.get("Content-Length", "")
            total = math.ceil(int(length) / _CHUNK) if length.isdecimal() else None
            chunks = _chunks(response, url=url, limit=limit)
            for chunk in progress(chunks, description=f"Downloading {target.name}", total=total):
                stream.write(chunk)
            stream.flush()
            check(part)
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise FileError(
            f"{url}: could not be fetched to {target} ({error or type(error).__name__}). Check "
            "the network and the free space, or fetch the file by other means and name its folder "
            "with data_dir (--data-dir)."
        ) from None


def _chunks(stream: IO[bytes], *, url: str, limit: int) -> Iterator[bytes]:
    seen = 0
    while chunk := stream.read(_CHUNK):
        seen += len(chunk)
        if seen > limit:
            raise FileError(f"{url}: longer than the expected {limit:,} bytes; not kept.")
        yield chunk


def sha256_of(path: Path) -> str:
    """Digest of a file as it lies on disk, without unpacking."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def extract_known(archive: Path, wanted: Sequence[KnownFile], folder: Path) -> None:
    """Write the wanted files of a tar archive to `folder`, each whole and checked.

    Names in the archive only select among the wanted files and never become paths; links, devices
    and all other members are passed over.

    Raises:
        FileError: the archive is damaged, or a wanted file is missing or has other content.
    """
    missing = {known.name: known for known in wanted}
    try:
        with tarfile.open(archive, "r:*") as tar:
            for member in tar:
                known = missing.get(member.name.rsplit("/", 1)[-1])
                if known is None or not member.isreg() or member.size != known.size:
                    continue
                stream = tar.extractfile(member)
                content = b"" if stream is None else stream.read()
                if hashlib.sha256(content).hexdigest() == known.sha256:
                    with _whole_or_nothing(folder / known.name) as (out, _):
                        out.write(content)
                    del missing[known.name]
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise FileError(f"{archive}: cannot be unpacked ({error}); fetch it again.") from None
    if missing:
        raise FileError(
            f"{archive}: does not hold the published {', '.join(sorted(missing))}; fetch it again."
        )
