"""`prunella report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prunella.cli import options as o
from prunella.cli.helping import examples
from prunella.cli.interrupts import interruptible
from prunella.cli.rundir import require_writable
from prunella.cli.say import Speaker
from prunella.core.errors import FileError, InputError
from prunella.files.atomic import read_text, write_atomically
from prunella.report import from_json, render

EXAMPLES = examples(
    "prunella report runs/demo",
    "prunella report runs/demo --out for-the-team.html",
)


def report(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Directory of a run, or its report.json.")
    ],
    out: Annotated[
        Path | None,
        o.option(o.RUN, "FILE", "The HTML file.", default="report.html beside report.json"),
    ] = None,
    quiet: o.Quiet = False,
) -> None:
    """Make the HTML report of a run again, for instance with a newer prunella."""
    source = run / "report.json" if run.is_dir() else run
    if source.suffix != ".json":
        what = "is no report.json" if run.exists() else "does not exist"
        raise InputError(f"{run}: {what}; give the directory of a run, or its report.json.")
    if not source.exists():
        raise FileError(
            f"{source}: no such file; give the directory of a finished run, or its report.json."
        )
    target = out or source.with_name("report.html")
    if target.is_dir():
        raise InputError(f"--out {target}: is a directory; give a file, such as report.html.")
    require_writable(target.parent, option="--out")
    with interruptible("Nothing was written; run the same command again."):
        try:
            page = render(from_json(read_text(source)))
        except FileError as error:
            text = str(error)
            raise FileError(text if str(source) in text else f"{source}: {text}") from None
        write_atomically(target, page)
    Speaker(quiet=quiet).files({target: "the report, to open in a browser"})
