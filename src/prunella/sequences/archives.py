"""Problems of the UEA and UCR archives of time series, in the format of their `.ts` files.

Source: Bagnall et al., "The UEA multivariate time series classification archive, 2018"
(arXiv 1811.00075). After the line `@data` each line is a sequence: dimensions parted by colons,
steps by commas, and the name of the class behind the last colon.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from prunella.core.errors import FileError
from prunella.core.words import shown
from prunella.sequences.labelled import Labelled, classified, every_fifth
from prunella.sequences.reading import Floats, package_file, read_text
from prunella.sequences.sets import SequenceSet
from prunella.sequences.task import Asked, Split, Task


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Problem:
    """Sequences (T_i, D) with names of classes, as one file has them."""

    sequences: list[Floats]
    labels: list[str]
    classes: tuple[str, ...]


def read_ts(path: Path) -> _Problem:
    """One `.ts` file of a classification problem without time stamps.

    Raises:
        FileError: another kind of file, or damaged.
    """
    head, mark, body = read_text(path).partition("@data")
    fields = [line.split() for line in head.splitlines() if line.startswith("@")]
    told = {words[0].lower(): words[1:] for words in fields}
    label = told.get("@classlabel", ["false"])
    stamped = told.get("@timestamps", ["false"])
    if not mark or label[0].lower() != "true" or len(label) < 2 or stamped[0].lower() != "false":
        raise FileError(
            f"{path}: no classification problem in .ts format without time stamps; expected "
            "'@timeStamps false', '@classLabel true' with the names of the classes, and '@data'."
        )
    found = [
        _sequence(line.strip(), where=f"{path}, sequence {number}", classes=label[1:])
        for number, line in enumerate(filter(str.strip, body.splitlines()), start=1)
    ]
    if not found or len({sequence.shape[1] for sequence, _ in found}) != 1:
        raise FileError(f"{path}: no sequences, or not all of the same number of dimensions.")
    return _Problem(
        sequences=[sequence for sequence, _ in found],
        labels=[name for _, name in found],
        classes=tuple(label[1:]),
    )


def _sequence(line: str, *, where: str, classes: list[str]) -> tuple[Floats, str]:
    *dimensions, label = line.split(":")
    if label not in classes or not dimensions:
        raise FileError(f"{where}: class {shown(label)}, expected one of {', '.join(classes)}.")
    try:
        columns = [
            [np.nan if field == "?" else float(field) for field in dimension.split(",")]
            for dimension in dimensions
        ]
    except ValueError as error:
        raise FileError(f"{where}: {shown(str(error))}; expected numbers.") from None
    if len({len(column) for column in columns}) != 1:
        raise FileError(f"{where}: dimensions of different numbers of steps.")
    return np.array(columns).T, label


def problem(name: str, features: tuple[str, ...], asked: Asked) -> SequenceSet:
    """A problem that comes with sktime; every fifth training sequence of a class validates."""
    read = {}
    for part in ("TRAIN", "TEST"):
        inner = f"datasets/data/{name}/{name}_{part}.ts"
        path = package_file("sktime", inner, data_dir=asked.data_dir)
        read[part] = read_ts(path)
        width = read[part].sequences[0].shape[1]
        if width != len(features) or read[part].classes != read["TRAIN"].classes:
            raise FileError(
                f"{path}: {width} dimensions and the classes {shown(read[part].classes)}; expected "
                f"{len(features)}, and the classes of the training file."
            )
    classes = read["TRAIN"].classes
    train, test = (
        [(s, classes.index(label)) for s, label in zip(p.sequences, p.labels, strict=True)]
        for p in (read["TRAIN"], read["TEST"])
    )
    most, fifth = every_fifth(train)
    tested = Labelled()
    for sequence, label in test:
        tested.add(sequence, label)
    parts: dict[Split, Labelled] = {"train": most, "validation": fifth, "test": tested}
    return classified(name, parts, asked, features=features, classes=classes)


_PROBLEMS = (
    (
        "BasicMotions",
        "which of four activities a smart watch's accelerometer and gyroscope saw",
        tuple(f"{kind} {axis}" for kind in ("acceleration", "rotation") for axis in "xyz"),
    ),
    (
        "JapaneseVowels",
        "which of nine speakers said a vowel, from 12 coefficients per frame, 7 to 29 frames",
        tuple(f"coefficient {i}" for i in range(1, 13)),
    ),
    (
        "ItalyPowerDemand",
        "whether a day's demand for electric power, by the hour, is one of winter or of summer",
        ("demand",),
    ),
)
_TASKS = {
    "BasicMotions": "basic-motions",
    "JapaneseVowels": "japanese-vowels",
    "ItalyPowerDemand": "italy-power",
}

ARCHIVES = tuple(
    Task(
        name=_TASKS[name],
        line=line,
        kind="classification",
        source=f"package sktime (licence BSD 3-clause), {name} of the UEA and UCR archives",
        make=partial(problem, name, features),
    )
    for name, line, features in _PROBLEMS
)
