"""What a file says, in the words of a message: on one line, short, and harmless to a terminal."""

from __future__ import annotations

import reprlib
from typing import final

_LENGTH = 120  # characters


def shown(value: object) -> str:
    """A value that was read from a file, for a message; long and nested ones are shortened."""
    return _cut(_REPR.repr(value))


def one_line(error: object) -> str:
    """The words of an error that may quote a file; line breaks and control characters are gone."""
    words = " ".join(str(error).split())
    return _cut("".join(c if c.isprintable() else "?" for c in words), length=3 * _LENGTH)


def _cut(text: str, *, length: int = _LENGTH) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."


@final
class _Short(reprlib.Repr):
    def repr_int(self, x: int, level: int) -> str:
        """As for other values, but Python refuses to write out the digits of the largest."""
        bits = x.bit_length()
        return f"a whole number of {bits:,} bits" if bits > 1000 else super().repr_int(x, level)


def _repr() -> reprlib.Repr:
    short = _Short()
    short.maxlevel = 2
    short.maxstring = short.maxother = 80
    return short


_REPR = _repr()
