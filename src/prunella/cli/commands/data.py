"""`prunella data`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args

import typer
from rich.table import Table

from prunella.cli.say import Speaker
from prunella.core.errors import FileError
from prunella.data import load as load_data
from prunella.data.known import SOURCES, Split
from prunella.terminal import progress_for_people


def data(
    name: Annotated[
        str | None, typer.Argument(help="A data set; without it all are listed.")
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder to look in first.")] = None,
    download: Annotated[bool, typer.Option(help="Fetch it if absent.")] = False,
) -> None:
    """List the data sets and whether they are here, or check and fetch one.

    Example:

    `prunella data fashion-mnist --download`
    """
    speaker = Speaker(quiet=False)
    progress = progress_for_people()
    if name is not None:
        for split in get_args(Split):
            samples = load_data(
                name, split, data_dir=data_dir, download=download, progress=progress
            )
            shape = " x ".join(str(n) for n in samples.images.shape[1:])
            speaker.say(
                f"{name} {split}: {len(samples):,} images of {shape}, "
                f"{len(samples.classes)} classes"
            )
        return
    table = Table("data set", "training", "test", box=None, padding=(0, 2), header_style="bold")
    for known in ("bundled", *SOURCES):
        try:
            counts = [
                f"{len(load_data(known, split, data_dir=data_dir)):,}" for split in get_args(Split)
            ]
        except FileError:
            counts = ["not found", f"prunella data {known} --download"]
        table.add_row(known, *counts)
    speaker.console.print(table)
