"""Ctrl-C: one sentence, whole files and exit code 130 at whatever moment it comes."""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import final

from prunella.core.errors import PrunellaError

Handler = Callable[[int, FrameType | None], None]


class Interrupted(PrunellaError):
    """The user pressed Ctrl-C; the message says how to go on."""

    exit_code = 130


@contextmanager
def interruptible(advice: str) -> Iterator[None]:
    """Turn Ctrl-C into `Interrupted` with a sentence on how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"Interrupted. {advice}") from None


def listen(handler: Handler) -> None:
    """Let Ctrl-C call a handler, unless it is ignored, as in the background of a script."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, handler)


def leave(number: int, frame: FrameType | None) -> None:
    """End the program at once; for the time in which it only imports, and has begun nothing.

    An exception would end in the middle of other packages' code, which may lose or disguise it.
    """
    del number, frame
    sys.stderr.write("Interrupted.\n")
    sys.stderr.flush()
    os._exit(Interrupted.exit_code)


@contextmanager
def importing() -> Iterator[None]:
    """Importing, in a program that has set `Interrupts`: until it is done, Ctrl-C ends it."""
    before = signal.getsignal(signal.SIGINT)
    if not isinstance(before, Interrupts):
        yield
        return
    signal.signal(signal.SIGINT, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@final
class Interrupts:
    """Ctrl-C as an exception, but a hasty second one does not disturb the tidying up."""

    def __init__(self) -> None:
        self.last = -math.inf

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Raise KeyboardInterrupt, unless that was done less than a second ago."""
        del number, frame
        now = time.monotonic()
        hasty = now - self.last < 1
        self.last = now
        if not hasty:
            raise KeyboardInterrupt
