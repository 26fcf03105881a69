"""`prunella report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prunella.cli.say import Speaker
from prunella.core.errors import InputError
from prunella.files.atomic import read_text, write_atomically
from prunella.report import from_json, render


def report(
    run: Annotated[Path, typer.Argument(help="Directory of a run, or its report.json.")],
    out: Annotated[
        Path | None, typer.Option(help="The HTML file; by default report.html beside report.json.")
    ] = None,
    quiet: Annotated[bool, typer.Option(help="Print the path of the written file only.")] = False,
) -> None:
    """Make the HTML report of a run again, for instance with a newer prunella.

    Example:

    `prunella report runs/demo`
    """
    source = run / "report.json" if run.is_dir() else run
    if source.suffix != ".json":
        raise InputError(f"{run}: expected the directory of a run, or its report.json.")
    target = out or source.with_name("report.html")
    write_atomically(target, render(from_json(read_text(source))))
    Speaker(quiet=quiet).files({target: "the report, to open in a browser"})
