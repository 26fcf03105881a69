"""Progress bars for people: with time left, on a terminal only."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress

from prunella.core.progress import Progress, silent

T = TypeVar("T")

_DELAY = 0.5  # seconds; what is done sooner shows no bar, which would only flicker


def progress_for_people(*, quiet: bool = False) -> Progress:
    """Bars on standard error if that is a terminal; silence under `quiet`, in pipes and in CI."""
    if quiet or not sys.stderr.isatty() or os.environ.get("CI"):
        return silent
    return _bar


def _bar(items: Iterable[T], *, description: str, total: int | None = None) -> Iterator[T]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    bars = RichProgress(*columns, console=Console(stderr=True), transient=True)
    task = bars.add_task(description, total=total)
    begin = time.monotonic()
    try:
        for item in items:
            yield item
            bars.advance(task)
            if not bars.live.is_started and time.monotonic() - begin > _DELAY:
                bars.start()
    finally:
        bars.stop()
