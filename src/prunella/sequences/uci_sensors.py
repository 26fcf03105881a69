"""Classification sets of the UCI repository: activities, walkers and smells, from sensors.

Each is read from the files that the repository publishes, in a folder that the user gives.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from prunella.core.errors import FileError, InputError
from prunella.core.words import shown
from prunella.sequences.labelled import Labelled, classified, empty_parts
from prunella.sequences.reading import Floats, folder_file, numbers, read_table, read_text
from prunella.sequences.sets import SequenceSet
from prunella.sequences.task import Asked, Split, Task, uci_files

_ADVICE = "It is the data set {} of the UCI repository, https://archive.ics.uci.edu/dataset/{}."
_TAGS = ("010-000-024-033", "010-000-030-096", "020-000-033-111", "020-000-032-221")
_PLACES = ("x", "y", "z")
_PEOPLE: dict[str, Split] = {
    "A": "train",
    "B": "train",
    "C": "train",
    "D": "validation",
    "E": "test",
}
_LPA_STEPS = 40
_AREM_STEPS = 120
_UID_STEPS = 100
_GAS_STEPS = 100
_AREM = tuple(f"{what}_rss{pair}" for pair in ("12", "13", "23") for what in ("avg", "var"))
_AREM_CLASSES = ("bending1", "bending2", "cycling", "lying", "sitting", "standing", "walking")
_GAS = (*(f"R{i}" for i in range(1, 9)), "Temp.", "Humidity")
_GAS_CLASSES = ("background", "banana", "wine")


def person_activity(asked: Asked) -> SequenceSet:
    """Places of four tags on a person: which of eleven activities the window ends in.

    Windows of 40 rows, one after another, within a recording. Persons A, B and C are the training
    part, D validates and E tests, so that nobody is in two parts.

    Source: Kaluza et al., "An agent-based approach to care in independent living", AmI 2010.
    """
    path = folder_file(
        ("ConfLongDemo_JSI.txt",),
        data_dir=asked.data_dir,
        advice=_ADVICE.format("Localization Data for Person Activity", 196),
    )
    names = ("recording", "tag", "stamp", "date", *_PLACES, "activity")
    columns = read_table(path, names, headed=False)
    for name, known in (("tag", _TAGS), ("recording", tuple(_PEOPLE))):
        for row, field in enumerate(columns[name], start=1):
            if (field if name == "tag" else field[:1]) not in known:
                raise FileError(
                    f"{path}, line {row}: {name} {shown(field)}, expected one of "
                    f"{', '.join(known)}."
                )
    tags = np.array([[tag == known for known in _TAGS] for tag in columns["tag"]])
    table = np.column_stack((numbers(columns, _PLACES, path=path), tags))
    classes = sorted(set(columns["activity"]))
    steps = _LPA_STEPS if asked.length is None else asked.length
    recordings = np.array(columns["recording"])
    parts = empty_parts()
    for recording in dict.fromkeys(columns["recording"]):
        rows = np.flatnonzero(recordings == recording)
        for end in range(steps, len(rows) + 1, steps):
            label = classes.index(columns["activity"][rows[end - 1]])
            parts[_PEOPLE[recording[0]]].add(table[rows[end - steps : end]], label)
    features = (*_PLACES, *(f"tag {tag}" for tag in _TAGS))
    return classified("person-activity", parts, asked, features=features, classes=classes)


def arem(asked: Asked) -> SequenceSet:
    """Signals between three sensors on a person: which of seven activities, 30 seconds at a time.

    Of the recordings of an activity those with a number divisible by 5 test, those before them
    validate.

    Source: Palumbo et al., "Human activity recognition using multisensor data fusion based on
    reservoir computing", J. Ambient Intell. Smart Environ. 8, 2016.
    """
    folder = _folder(asked, "the folders bending1 to walking", _ADVICE.format("AReM", 366))
    steps = _AREM_STEPS if asked.length is None else asked.length
    parts = empty_parts()
    for label, name in enumerate(_AREM_CLASSES):
        for number, path in _numbered(folder / name, "dataset*.csv", _ADVICE.format("AReM", 366)):
            split: Split = {0: "test", 4: "validation"}.get(number % 5, "train")  # type: ignore[assignment]
            _add_windows(parts[split], _arem_rows(path), label, steps)
    return classified("arem", parts, asked, features=_AREM, classes=_AREM_CLASSES)


def _arem_rows(path: Path) -> Floats:  # (S, 6)
    """Rows behind the head; one published file has blanks in place of commas."""
    rows = []
    for line in read_text(path).splitlines():
        if line.startswith("#") or not line.strip():
            continue
        fields = [field for field in re.split(r"[,\s]+", line.strip()) if field]
        try:
            values = [float(field) for field in fields]
        except ValueError:
            values = []
        if len(values) != 1 + len(_AREM):
            raise FileError(f"{path}: {shown(line)}; expected a time and six numbers.")
        rows.append(values[1:])
    return np.array(rows).reshape(-1, len(_AREM))


def walkers(asked: Asked) -> SequenceSet:
    """Acceleration of a telephone in the breast pocket: which of 22 people walks.

    Windows of 100 steps, about 3 seconds. Each walk is divided in the order of time, 70, 15 and 15
    per cent.

    Source: Casale, Pujol and Radeva, "Personalization and user verification in wearable systems
    using biometric walking patterns", Pers. Ubiquitous Comput. 16, 2012.
    """
    advice = _ADVICE.format("User Identification From Walking Activity", 286)
    folder = _folder(asked, "1.csv to 22.csv", advice)
    steps = _UID_STEPS if asked.length is None else asked.length
    found = list(_numbered(folder, "*.csv", advice))
    parts = empty_parts()
    for label, (_, path) in enumerate(found):
        columns = read_table(path, ("time", *_PLACES), headed=False)
        rows = numbers(columns, _PLACES, path=path)
        edges = [round(share * len(rows)) for share in (0, 0.7, 0.85, 1)]
        for part, begin, end in zip(parts.values(), edges, edges[1:], strict=False):
            _add_windows(part, rows[begin:end], label, steps)
    classes = [f"person {number}" for number, _ in found]
    return classified("walkers", parts, asked, features=_PLACES, classes=classes)


def gas(asked: Asked) -> SequenceSet:
    """Eight gas sensors at home: whether there was wine, bananas or nothing.

    A sequence is one exposure, averaged within 100 equal stretches of its time. Of each class every
    fifth exposure tests, those before them validate.

    Source: Huerta et al., "Online decorrelation of humidity and temperature in chemical sensors
    for continuous monitoring", Chemom. Intell. Lab. Syst. 157, 2016.
    """
    advice = _ADVICE.format("Gas sensors for home activity monitoring", 362)
    about, data = (
        folder_file((f"HT_Sensor_{kind}.dat",), data_dir=asked.data_dir, advice=advice)
        for kind in ("metadata", "dataset")
    )
    steps = _GAS_STEPS if asked.length is None else asked.length
    exposures = _blanks(about, 5)
    rows = np.array([_floats(fields, path=data) for fields in _blanks(data, 2 + len(_GAS))])
    # In the order of their numbers, which a search then finds fast.
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    parts = empty_parts()
    seen = dict.fromkeys(_GAS_CLASSES, 0)
    for number, _, name, _, lasted in exposures:
        if name not in seen:
            raise FileError(f"{about}: class {shown(name)}, expected {', '.join(_GAS_CLASSES)}.")
        identity, duration = _floats((number, lasted), path=about)
        begin, end = np.searchsorted(rows[:, 0], (identity, identity + 0.5))
        during = rows[begin:end]
        during = during[(during[:, 1] >= 0) & (during[:, 1] < duration)]
        if not len(during):
            continue  # published without rows: nothing can be said of it
        seen[name] += 1
        split: Split = {0: "test", 4: "validation"}.get(seen[name] % 5, "train")  # type: ignore[assignment]
        sequence = _averaged(during[:, 2:], during[:, 1] / duration, steps)
        parts[split].add(sequence, _GAS_CLASSES.index(name))
    return classified("gas", parts, asked, features=_GAS, classes=_GAS_CLASSES)


def _averaged(
    rows: Floats,  # (S, D)
    when: Floats,  # (S,) in [0, 1)
    steps: int,
) -> Floats:  # (steps, D)
    """Means within equal stretches of time; a stretch without rows has the last mean before it."""
    place = np.floor(when * steps).astype(np.int64)
    count = np.bincount(place, minlength=steps)
    sums = [np.bincount(place, weights=column, minlength=steps) for column in rows.T]
    means = np.stack(sums, axis=1) / count.clip(1)[:, None]
    filled = np.flatnonzero(count)
    last = np.searchsorted(filled, np.arange(steps), side="right") - 1
    averaged: Floats = means[filled[last.clip(0)]]
    return averaged


def _add_windows(part: Labelled, rows: Floats, label: int, steps: int) -> None:
    for end in range(steps, len(rows) + 1, steps):
        part.add(rows[end - steps : end], label)


def _folder(asked: Asked, what: str, advice: str) -> Path:
    if asked.data_dir is None:
        raise InputError(f"expected the folder with {what}, as data_dir (--data-dir). {advice}")
    return asked.data_dir


def _numbered(folder: Path, pattern: str, advice: str) -> Iterator[tuple[int, Path]]:
    """Files by the number in their names, which stands for the star, ascending."""
    number = re.escape(pattern).replace(r"\*", r"(\d+)")
    matches = [(re.fullmatch(number, path.name), path) for path in folder.glob("*")]
    found = sorted((int(match[1]), path) for match, path in matches if match)
    if not found:
        name = pattern.replace("*", "1")
        raise FileError(f"{folder}: holds no file {name}, nor with any other number. {advice}")
    yield from found


def _blanks(path: Path, width: int) -> list[list[str]]:
    """Rows of fields parted by blanks, behind a row of names."""
    lines = [line.split() for line in read_text(path).splitlines()[1:] if line.strip()]
    for number, fields in enumerate(lines, start=1):
        if len(fields) != width:
            raise FileError(
                f"{path}, row {number} of the data: {len(fields)} fields, expected {width}."
            )
    return lines


def _floats(fields: list[str] | tuple[str, ...], *, path: Path) -> list[float]:
    try:
        return [float(field) for field in fields]
    except ValueError:
        raise FileError(f"{path}: {shown(list(fields))}; expected numbers.") from None


UCI_SENSORS = (
    Task(
        name="person-activity",
        line="which of eleven activities, from the places of four tags on a person (LPA)",
        kind="classification",
        source=uci_files("ConfLongDemo_JSI.txt"),
        make=person_activity,
    ),
    Task(
        name="arem",
        line="which of seven activities, from signals between sensors on a person (AREM)",
        kind="classification",
        source=uci_files("folders bending1 to walking"),
        make=arem,
    ),
    Task(
        name="gas",
        line="wine, bananas or nothing, from eight gas sensors at home (GAS)",
        kind="classification",
        source=uci_files("HT_Sensor_metadata.dat and HT_Sensor_dataset.dat"),
        make=gas,
    ),
    Task(
        name="walkers",
        line="which of 22 people walks, from a telephone's acceleration (UID)",
        kind="classification",
        source=uci_files("1.csv to 22.csv"),
        make=walkers,
    ),
)
