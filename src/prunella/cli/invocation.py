"""How this program was called."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path


def program() -> str:
    """How this program was called, as it could be typed."""
    started_as_module = Path(sys.argv[0]).name == "__main__.py"
    return "python -m prunella" if started_as_module else "prunella"


def command_line(arguments: Sequence[str]) -> str:
    """The command that is running, as it could be typed to make the run again."""
    kept = [argument for argument in arguments if argument != "--resume"]
    return f"{program()} {shlex.join(kept)}"
