"""A report as a JSON file, and back."""

from __future__ import annotations

import json
import math
import sys
import types
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from typing import Any, Union, get_args, get_origin, get_type_hints

from prunella.core.certificates import check_certificate
from prunella.core.errors import FileError
from prunella.core.jsontext import NewerVersionError, Upgrade, read_json, upgraded
from prunella.core.results import Report
from prunella.core.walks import RISKS, Walk
from prunella.core.words import shown

SCHEMA_VERSION = 1
# Makes a report of version v + 1 out of one of version v, both as plain data. When the schema
# changes, the old version gets an entry here, and tests/golden keeps a file of it.
_UPGRADES: Mapping[int, Upgrade] = {}
_LONGEST = 1e9  # seconds, or times as fast
_MOST = 2**63 - 1  # of a whole number; all of them are counts
_ADVICE = "Make the file again by repeating the run, or restore it from a copy."
# JSON has no words for these numbers.
_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def to_json(report: Report) -> str:
    """The report as JSON text that `from_json` reads."""
    data = {"schema_version": SCHEMA_VERSION, **asdict(report)}
    return json.dumps(_finite(data), indent=1, allow_nan=False) + "\n"


def from_json(text: str) -> Report:
    """Read what `to_json` wrote.

    Raises:
        FileError: The text is not JSON, of another version, or not a whole report.
    """
    try:
        data = read_json(text)
    except ValueError as error:
        raise FileError(f"report: the text is not JSON ({error}). {_ADVICE}") from None
    try:
        data = upgraded(data, newest=SCHEMA_VERSION, steps=_UPGRADES, what="the report")
    except NewerVersionError as error:
        raise FileError(str(error)) from None
    except ValueError as error:
        raise FileError(f"{error}. {_ADVICE}") from None
    del data["schema_version"]
    report: Report = _read(Report, data, "report")
    if report.certificate is not None:
        check_certificate(report.certificate)
    _check_ranges(report)
    for index, layer in enumerate(report.layers):
        if layer.scores and len(layer.scores) != len(layer.kept):
            raise FileError(
                f"report.layers[{index}]: {len(layer.scores)} scores for {len(layer.kept)} "
                f"channels, expected one each or none. {_ADVICE}"
            )
    return report


def _check_ranges(report: Report) -> None:
    """Raise FileError for a share or a time that no run can have measured."""
    stages = asdict(report.accuracy)
    del stages["samples"]
    for name, share in stages.items():
        if share is not None and not 0 <= share <= 1:
            raise FileError(
                f"report.accuracy.{name}: got {shown(share)}, expected 0 to 1. {_ADVICE}"
            )
    for index, latency in enumerate(report.latency):
        for seconds in (*latency.before, *latency.after, latency.speedup):
            if not 0 <= seconds <= _LONGEST:
                raise FileError(
                    f"report.latency[{index}]: got {shown(seconds)}, expected 0 to {_LONGEST:g}. "
                    f"{_ADVICE}"
                )
    for row in report.robustness.rows if report.robustness is not None else ():
        for share in (row.disagreement, row.original, row.small):
            if share is not None and not 0 <= share <= 1:
                raise FileError(
                    f"report.robustness: got {shown(share)}, expected 0 to 1. {_ADVICE}"
                )
    if report.walk is not None:
        _check_walk(report.walk)


def _check_walk(walk: Walk) -> None:
    """Raise FileError for what no walk can have found."""
    shares = (walk.alpha, walk.delta, *walk.shares)
    shares += tuple(part for step in walk.steps for part in (step.share, step.delta))
    risks = tuple(part for step in walk.steps for part in (step.observed, step.upper))
    good = (
        walk.risk in RISKS
        and all(0 < share < 1 for share in shares)
        and all(-1 <= risk <= 1 for risk in risks)
        and {step.share for step in walk.steps} <= set(walk.shares)
        and walk.samples > 0
        and walk.start < len(walk.shares)
        and (walk.chosen is None or (walk.chosen_step is not None and walk.chosen_step.passed))
    )
    if not good:
        raise FileError(
            f"report.walk: {len(walk.steps)} tests of {len(walk.shares)} candidates for the risk "
            f"{shown(walk.risk)} with numbers that no search can have found. {_ADVICE}"
        )


def _finite(value: Any) -> Any:
    """Replace numbers that JSON cannot hold by their names."""
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return value


def _read(kind: Any, value: Any, where: str) -> Any:
    """Check a JSON value against a type and turn it into that type."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        inner = next(argument for argument in arguments if argument is not type(None))
        return None if value is None else _read(inner, value, where)
    if is_dataclass(kind):
        return _read_dataclass(kind, value, where)
    if origin is tuple:
        return _read_tuple(arguments, value, where)
    if origin is Mapping:
        entries = _checked(value, dict, "an object", where)
        return {
            key: _read(arguments[1], entry, f"{where}.{_name(key)}")
            for key, entry in entries.items()
        }
    return _read_scalar(kind, value, where)


def _read_dataclass(kind: Any, value: Any, where: str) -> Any:
    entries = _checked(value, dict, "an object", where)
    hints = get_type_hints(kind)
    known = {field.name: field for field in fields(kind)}
    if unknown := sorted(set(entries) - set(known)):
        raise FileError(
            f"{where}: unknown entry {shown(unknown[0])}. Read the file with the version of "
            "prunella that wrote it."
        )
    for name, field in known.items():
        required = field.default is MISSING and field.default_factory is MISSING
        if required and name not in entries:
            raise FileError(f"{where}: the entry {name!r} is missing. {_ADVICE}")
    return kind(
        **{name: _read(hints[name], entry, f"{where}.{name}") for name, entry in entries.items()}
    )


def _read_tuple(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    entries = _checked(value, list, "a list", where)
    if arguments[-1] is Ellipsis:
        kinds = [arguments[0]] * len(entries)
    elif len(entries) == len(arguments):
        kinds = list(arguments)
    else:
        raise FileError(
            f"{where}: got {len(entries)} entries, expected {len(arguments)}. {_ADVICE}"
        )
    return tuple(
        _read(kind, entry, f"{where}[{index}]")
        for index, (kind, entry) in enumerate(zip(kinds, entries, strict=True))
    )


def _read_scalar(kind: Any, value: Any, where: str) -> Any:
    if kind is float:
        if isinstance(value, str) and value in _NOT_FINITE:
            return _NOT_FINITE[value]
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            if abs(value) > sys.float_info.max:  # infinity is written in words
                raise FileError(f"{where}: got {shown(value)}, expected a number. {_ADVICE}")
            return float(value)
        raise FileError(f"{where}: got {_kind(value)}, expected a number. {_ADVICE}")
    if kind is int and isinstance(value, bool):
        raise FileError(f"{where}: got {_kind(value)}, expected a whole number. {_ADVICE}")
    if kind is int and isinstance(value, int) and not 0 <= value <= _MOST:
        raise FileError(f"{where}: got {shown(value)}, expected 0 to {_MOST}. {_ADVICE}")
    names = {int: "a whole number", bool: "true or false", str: "a text"}
    return _checked(value, kind, names[kind], where)


def _checked(value: Any, kind: Any, name: str, where: str) -> Any:
    if not isinstance(value, kind):
        raise FileError(f"{where}: got {_kind(value)}, expected {name}. {_ADVICE}")
    return value


def _kind(value: Any) -> str:
    """Name of the kind of a JSON value, for messages."""
    names: dict[type, str] = {
        dict: "an object",
        list: "a list",
        str: "a text",
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        type(None): "null",
    }
    return names[type(value)]


def _name(key: str) -> str:
    """The name of an entry that the file chose, for messages."""
    return key if key.isidentifier() and len(key) < 40 else shown(key)
