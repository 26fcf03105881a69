"""JSON from files that nobody vouches for, of any schema version that is known."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from prunella.core.words import one_line, shown

# Characters. A plan of three million calibration samples has as many. Reading makes up to some
# twenty times as much memory of a text, so this also bounds what a hostile one can take.
MOST_TEXT = 1 << 25
_MOST_DIGITS = 40  # far beyond any count; converting very long numbers takes quadratic time

Upgrade = Callable[[dict[str, Any]], dict[str, Any]]


def read_json(text: str) -> Any:
    """The value of a JSON text; stricter than the standard library.

    Numbers that are not finite are passed on, since they may be meant: who reads a number checks
    it.

    Raises:
        ValueError: no JSON, too long or too deeply nested, a name given twice in one object, or a
            whole number of more than 40 digits.
    """
    if len(text) > MOST_TEXT:
        raise ValueError(f"{len(text):,} characters, more than the {MOST_TEXT:,} that are read")
    try:
        return json.loads(text, object_pairs_hook=_distinct, parse_int=_whole)
    except RecursionError:
        raise ValueError("too deeply nested") from None
    except ValueError as error:
        raise ValueError(one_line(error)) from None


def upgraded(
    data: Any, *, newest: int, steps: Mapping[int, Upgrade], what: str, key: str = "schema_version"
) -> dict[str, Any]:
    """Data of any known version in the form of the newest one.

    Args:
        data: What a file holds; its version stands under `key`.
        newest: The version that this prunella writes.
        steps: Makes data of version v + 1 out of data of version v, for each older v.
        what: What it is, for messages, for instance "the plan".
        key: Name of the entry with the version.

    Raises:
        ValueError: the data is no object, or its version is missing or unknown.
    """
    if not isinstance(data, dict):
        raise ValueError(f"{what} is {shown(data)}, expected an object")
    if key not in data:
        raise ValueError(f"{what} has no {key}")
    version = data[key]
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ValueError(f"{what} has {key} {shown(version)}, expected a whole number from 1")
    if version > newest:
        raise NewerVersionError(
            f"{what} has {key.replace('_', ' ')} {shown(version)}, this prunella reads {newest}"
            f"{' and older ones' if newest > 1 else ''}; update prunella."
        )
    found: dict[str, Any] = data
    for step in range(version, newest):
        found = {**steps[step](found), key: step + 1}
    return found


class NewerVersionError(ValueError):
    """The file was written by a newer prunella."""


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        ((twice, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"the name {shown(twice)} is given twice")
    return entries


def _whole(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"a whole number of {len(digits):,} digits")
    return int(digits)
