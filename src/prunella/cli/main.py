"""Entry point: exit codes and messages."""

from __future__ import annotations

import math
import re
import signal
import sys
import time
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console

from prunella import __version__
from prunella.cli.commands import certify, data, demo, export, prune, report, train
from prunella.cli.helping import Command
from prunella.cli.rundir import Interrupted, program
from prunella.core.errors import PrunellaError

app = typer.Typer(
    name="prunella",
    help="Make trained neural networks small, and say how far the small ones can be trusted.",
    epilog="Begin with `prunella demo`; each command has its own --help, with examples.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_COMMANDS = (
    ("demo", demo.demo, demo.EXAMPLES, "See it work on bundled data, in about a minute."),
    ("train", train.train, train.EXAMPLES, "Train a network from scratch."),
    ("prune", prune.prune, prune.EXAMPLES, "Make a trained network small, with a certificate."),
    ("certify", certify.certify, certify.EXAMPLES, "Certify a small network on other samples."),
    ("export", export.export, export.EXAMPLES, "Write a small network as ONNX or .pt2 file."),
    ("report", report.report, report.EXAMPLES, "Make the HTML report of a run again."),
    ("data", data.data, data.EXAMPLES, "List, check or fetch data sets."),
)
for _name, _function, _examples, _line in _COMMANDS:
    app.command(_name, cls=Command, epilog=_examples, short_help=_line)(_function)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"prunella {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    del version


def run() -> None:
    """Run the command line; exit codes are 0 done, 1 not reached, 2 usage, 130 interrupted."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as in the background of a script
        signal.signal(signal.SIGINT, _Interrupts())
    code = main(sys.argv[1:])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # everything is said; only the exit is left
    sys.exit(code)


def main(arguments: list[str]) -> int:
    """Run one command and return its exit code; a user's mistake is one paragraph, no traceback."""
    errors = Console(stderr=True)
    try:
        code = int(app(arguments, standalone_mode=False, prog_name=program(), obj=arguments) or 0)
    except typer.Exit as finished:
        code = finished.exit_code
    except (typer.Abort, KeyboardInterrupt):
        code = Interrupted.exit_code
    except Interrupted as interruption:
        message = _paragraph(str(interruption))
        errors.print(message, style="yellow", highlight=False, markup=False, soft_wrap=True)
        return interruption.exit_code
    except PrunellaError as error:
        errors.print("[bold red]Error:[/] ", end="")
        errors.print(_paragraph(str(error)), highlight=False, markup=False, soft_wrap=True)
        return error.exit_code
    except Exception as error:
        # Usage errors come from typer's own copy of click, whose classes have no public name;
        # they know how to show themselves. Anything else is our fault and keeps its traceback.
        show = getattr(error, "show", None)
        if show is None:
            raise
        show()
        return int(getattr(error, "exit_code", 2))
    if code == Interrupted.exit_code:
        # Ctrl-C outside the parts of a command that write files.
        errors.print("Interrupted; run the same command again.", style="yellow")
    return code


class _Interrupts:
    """Ctrl-C as an exception, but a hasty second one does not disturb the tidying up."""

    def __init__(self) -> None:
        self.last = -math.inf

    def __call__(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        now = time.monotonic()
        hasty = now - self.last < 1
        self.last = now
        if not hasty:
            raise KeyboardInterrupt


def _paragraph(text: str) -> str:
    return re.sub(r"\s*\n\s*", " ", text.strip())
