"""Progress as a callback, so that stages stay silent and the edges decide what is shown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")


class Progress(Protocol):
    """Wraps an iterable and reports how far it has come."""

    def __call__(
        self, items: Iterable[T], *, description: str, total: int | None = None
    ) -> Iterator[T]:
        """Yield the items unchanged; `total` is their number where it is known."""
        ...


def silent(items: Iterable[T], *, description: str, total: int | None = None) -> Iterator[T]:
    """Report nothing; the default of every library function."""
    del description, total
    yield from items


def length(items: object) -> int | None:
    """Number of items, or None for a stream that does not know it."""
    try:
        return len(items)  # type: ignore[arg-type]
    except TypeError:
        return None
