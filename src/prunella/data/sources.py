"""Data sets by name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import get_args

from prunella.core.errors import FileError, InputError
from prunella.core.progress import Progress, silent
from prunella.data.bundled import bundled
from prunella.data.files import (
    KnownFile,
    cache_folder,
    download,
    extract_known,
    find_file,
    read_checked,
    sha256_of,
)
from prunella.data.folders import class_names, in_test_part, read_image_folder
from prunella.data.images import ImageSet
from prunella.data.known import SOURCES, Archive, Source, Split, described

_FOLDER_PREFIX = "imagefolder:"
_TEST_FOLDERS = ("test", "val", "validation")
_SLACK = 1 << 20  # a compressed file may be a little longer than what it holds


def load(
    name: str,
    split: Split,
    *,
    data_dir: Path | str | None = None,
    download: bool = False,
    progress: Progress = silent,
    size: int = 224,
) -> ImageSet:
    """A data set by name.

    Args:
        name: `fashion-mnist`, `mnist`, `cifar10`, `bundled`, or `imagefolder:PATH`. Of `bundled`
            the calibration part serves as "train" and the test part as "test". An image folder is
            divided by its sub-folders `train` and `test` (or `val`, `validation`), which hold the
            class folders; without them a fixed fifth of the files is the test part.
        split: "train" or "test".
        data_dir: Searched before the usual places; an image folder's PATH is relative to it.
        download: Fetch what is in none of the places to the user's cache folder.
        progress: Told of files read and of bytes fetched.
        size: Side of the images of an image folder, pixels; other sets have their own.

    Raises:
        InputError: an unknown name or split.
        FileError: absent (the message says where it was looked for and how to get it), damaged,
            or not the published files.
    """
    if split not in get_args(Split):
        raise InputError(f"split {split!r}: expected 'train' or 'test'.")
    if data_dir is not None:
        data_dir = Path(data_dir).expanduser()
        if not data_dir.is_dir():
            raise FileError(f"{data_dir}: no such folder; check data_dir (--data-dir).")
    if name == "bundled":
        return bundled("calibration" if split == "train" else "test")
    if name.startswith(_FOLDER_PREFIX):
        path = Path(name.removeprefix(_FOLDER_PREFIX)).expanduser()
        root = path if data_dir is None else data_dir / path
        return _load_folder(root, split, size=size, progress=progress)
    if name not in SOURCES:
        names = ", ".join(SOURCES)
        raise InputError(
            f"data set {name!r}: expected one of {names}, bundled, or {_FOLDER_PREFIX}PATH."
        )
    return load_source(SOURCES[name], split, data_dir=data_dir, fetch=download, progress=progress)


def load_source(
    source: Source,
    split: Split,
    *,
    data_dir: Path | None = None,
    fetch: bool = False,
    progress: Progress = silent,
) -> ImageSet:
    """The same as `load` for a described data set."""
    folders = search_folders(source, data_dir)
    found = _find(source, split, folders)
    if found is None and fetch:
        _fetch(source, split, progress=progress)
        found = _find(source, split, folders)
    if found is None:
        raise _absent(source, split, folders)
    others = described()
    parts = tuple(
        (str(path), read_checked(path, known, others=others))
        for path, known in progress(found, description=f"Reading {source.name}", total=len(found))
    )
    images, labels = source.decode(parts)
    return ImageSet(
        name=f"{source.name} {split}",
        images=images,
        labels=labels,
        classes=source.classes,
        mean=source.mean,
        std=source.std,
    )


def search_folders(source: Source, data_dir: Path | None) -> tuple[Path, ...]:
    """All folders in which the files of a data set are looked for, in order."""
    places = [] if data_dir is None else [data_dir / source.name, data_dir]
    places += [Path(folder) for folder in source.usual]
    places += [cache_folder(source.name), Path.home() / ".cache" / "prunella" / source.name]
    folders = [place / inner for place in places for inner in ("", *source.inner)]
    return tuple(dict.fromkeys(folders))


def _find(
    source: Source, split: Split, folders: Iterable[Path]
) -> list[tuple[Path, KnownFile]] | None:
    folders = list(folders)
    for choice in source.files[split]:
        pairs = [(find_file(known, folders), known) for known in choice]
        whole = [(path, known) for path, known in pairs if path is not None]
        if len(whole) == len(choice):
            return whole
    return None


def _absent(source: Source, split: Split, folders: Iterable[Path]) -> FileError:
    folders = list(folders)
    missing = [k.name for k in source.files[split][0] if find_file(k, folders) is None]
    return FileError(
        f"{source.name}: {', '.join(missing)} not found (plain or with .gz) in "
        f"{', '.join(str(folder) for folder in folders)}. Name the folder that holds the files "
        "with data_dir (--data-dir), or let them be fetched with download=True (--download). "
        f"{source.advice}"
    )


def _fetch(source: Source, split: Split, *, progress: Progress) -> None:
    cache = cache_folder(source.name)
    if source.archive is not None:
        _fetch_archive(source.address, source.archive, cache, progress=progress)
        return
    for known in source.files[split][0]:
        if find_file(known, search_folders(source, None)) is None:
            _fetch_file(source.address, known, cache, progress=progress)


def _fetch_file(address: str, known: KnownFile, cache: Path, *, progress: Progress) -> None:
    name = f"{known.name}.gz"
    download(
        address + name,
        cache / name,
        check=lambda part: read_checked(part, known),
        limit=(known.size or 0) + _SLACK,
        progress=progress,
    )


def _fetch_archive(address: str, archive: Archive, cache: Path, *, progress: Progress) -> None:
    def check(part: Path) -> None:
        if sha256_of(part) != archive.sha256:
            raise FileError(
                f"{address}{archive.name}: not the published archive (its SHA-256 differs); "
                "nothing was kept. Try again later, or fetch it from elsewhere."
            )

    target = cache / archive.name
    download(address + archive.name, target, check=check, limit=archive.size, progress=progress)
    extract_known(target, archive.holds, cache)
    target.unlink()  # its content now lies beside it


def _load_folder(root: Path, split: Split, *, size: int, progress: Progress) -> ImageSet:
    train = root / "train"
    # A class may be called "train": it then holds images, not folders.
    divided = train.is_dir() and any(child.is_dir() for child in train.iterdir())
    if not divided:
        class_names(root)
        wanted = split == "test"
        return read_image_folder(
            root, size=size, keep=lambda path: in_test_part(path) == wanted, progress=progress
        )
    test = next((root / name for name in _TEST_FOLDERS if (root / name).is_dir()), None)
    if split == "test" and test is None:
        raise FileError(
            f"{root}: has a folder train, but none of {', '.join(_TEST_FOLDERS)}; expected the "
            "test images there, in class folders."
        )
    # A class without test images must not shift the labels of the others.
    classes = sorted({*class_names(train), *(() if test is None else class_names(test))})
    folder = train if split == "train" or test is None else test
    return read_image_folder(folder, size=size, classes=classes, progress=progress)
