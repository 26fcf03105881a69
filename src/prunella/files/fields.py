"""Checks of single values in plain data from a file; each raises ValueError and says where."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

from prunella.core.words import shown

T = TypeVar("T")
MOST = 2**63 - 1  # what 64 bits hold; a product of many such numbers is still cheap to compute


def entry(data: Any, name: str, where: str) -> Any:
    """One entry of an object."""
    if not isinstance(data, dict):
        raise ValueError(f"{where} is {shown(data)}, expected an object")
    if name not in data:
        raise ValueError(f"{where} has no {name!r}")
    return data[name]


def whole(value: Any, where: str, *, least: int = 0, most: int = MOST) -> int:
    """A whole number in a range."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError(
            f"{where} is {shown(value)}, expected a whole number from {least} to {most}"
        )
    return value


def number(value: Any, where: str) -> float:
    """A number that is not NaN and not infinite."""
    # A comparison, because math.isfinite fails on integers beyond the range of floats.
    fits = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not fits or not abs(value) < math.inf:
        raise ValueError(f"{where} is {shown(value)}, expected a number")
    return float(value)


def text(value: Any, where: str) -> str:
    """Any text."""
    if not isinstance(value, str):
        raise ValueError(f"{where} is {shown(value)}, expected text")
    return value


def truth(value: Any, where: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{where} is {shown(value)}, expected true or false")
    return value


def items(value: Any, where: str, *, count: int | None = None) -> list[Any]:
    """A list, of a given length if there is one."""
    if not isinstance(value, list):
        raise ValueError(f"{where} is {shown(value)}, expected a list")
    if count is not None and len(value) != count:
        raise ValueError(f"{where} has {len(value)} entries, expected {count}")
    return value


def entries(value: Any, where: str, check: Callable[[Any, str], T]) -> dict[str, T]:
    """An object whose values all pass the same check."""
    if not isinstance(value, dict):
        raise ValueError(f"{where} is {shown(value)}, expected an object")
    return {name: check(inner, f"{where}.{shown(name)}") for name, inner in value.items()}
