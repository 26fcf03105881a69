"""Entry point: exit codes and messages.

Imports nothing that takes long, so that help and version come at once; a command's module is
imported when the command is called.
"""

from __future__ import annotations

import re
import signal
import sys
import warnings
from typing import Annotated

import typer
from rich.console import Console

from prunella.cli.helping import Group
from prunella.cli.interrupts import Interrupted, Interrupts, listen
from prunella.cli.invocation import program
from prunella.core.errors import ConfigWarning, InputError, PrunellaError
from prunella.core.version import __version__

app = typer.Typer(
    name="prunella",
    cls=Group,
    help="Make trained neural networks small, and say how far the small ones can be trusted.",
    epilog="Begin with `prunella demo`; each command has its own --help, with examples.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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
    listen(Interrupts())
    code = main(sys.argv[1:])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # everything is said; only the exit is left
    sys.exit(code)


def main(arguments: list[str]) -> int:
    """Run one command and return its exit code; a user's mistake is one paragraph, no traceback."""
    errors = Console(stderr=True)
    try:
        with warnings.catch_warnings():
            # No command writes a model's own configuration; whoever loads its files is told then.
            warnings.simplefilter("ignore", ConfigWarning)
            done = app(arguments, standalone_mode=False, prog_name=program(), obj=arguments)
        code = int(done or 0)
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
    except MemoryError as error:
        errors.print("[bold red]Error:[/] ", end="")
        said = _paragraph(f"out of memory; ask for smaller sizes. {error}")
        errors.print(said, highlight=False, markup=False, soft_wrap=True)
        return InputError.exit_code
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


def _paragraph(text: str) -> str:
    return re.sub(r"\s*\n\s*", " ", text.strip())
