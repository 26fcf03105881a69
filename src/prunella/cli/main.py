"""Entry point: exit codes and messages."""

from __future__ import annotations

import sys

import typer
from rich.console import Console

from prunella.cli.commands import certify, data, demo, prune, report, train
from prunella.cli.rundir import Interrupted
from prunella.core.errors import PrunellaError

app = typer.Typer(
    name="prunella",
    help="Make trained neural networks small, with a guarantee.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo.demo)
app.command("train")(train.train)
app.command("prune")(prune.prune)
app.command("certify")(certify.certify)
app.command("report")(report.report)
app.command("data")(data.data)


def run() -> None:
    """Run the command line; exit codes are 0 done, 1 not reached, 2 usage, 130 interrupted."""
    sys.exit(main(sys.argv[1:]))


def main(arguments: list[str]) -> int:
    """Run one command and return its exit code; a user's mistake is one paragraph, no traceback."""
    errors = Console(stderr=True)
    try:
        return int(app(arguments, standalone_mode=False, prog_name="prunella") or 0)
    except typer.Exit as finished:
        return finished.exit_code
    except (typer.Abort, KeyboardInterrupt):
        errors.print("Interrupted; nothing was written.", style="yellow")
        return Interrupted.exit_code
    except Interrupted as interruption:
        errors.print(_escaped(str(interruption)), style="yellow", highlight=False, soft_wrap=True)
        return interruption.exit_code
    except PrunellaError as error:
        message = f"[bold red]Error:[/] {_escaped(str(error))}"
        errors.print(message, highlight=False, soft_wrap=True)
        return error.exit_code
    except Exception as error:
        # Usage errors come from typer's own copy of click, whose classes have no public name;
        # they know how to show themselves. Anything else is our fault and keeps its traceback.
        show = getattr(error, "show", None)
        if show is None:
            raise
        show()
        return int(getattr(error, "exit_code", 2))


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")
