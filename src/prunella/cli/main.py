"""Entry point: exit codes and messages."""

from __future__ import annotations

import sys

import click
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
        return app(arguments, standalone_mode=False) or 0
    except click.exceptions.Exit as exit_request:
        return exit_request.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.exceptions.Abort, KeyboardInterrupt):
        errors.print("Interrupted; nothing was written.", style="yellow")
        return Interrupted.exit_code
    except Interrupted as interruption:
        errors.print(_escaped(str(interruption)), style="yellow", highlight=False)
        return interruption.exit_code
    except PrunellaError as error:
        errors.print(f"[bold red]Error:[/] {_escaped(str(error))}", highlight=False)
        return error.exit_code


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")
