"""`prunella data`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args

import typer
from rich.table import Table

from prunella.cli import options as o
from prunella.cli.config import DataConfig
from prunella.cli.helping import examples
from prunella.cli.interrupts import interruptible
from prunella.cli.invocation import program
from prunella.cli.networks import AnySet
from prunella.cli.samples import read_split
from prunella.cli.say import Speaker
from prunella.core.errors import FileError
from prunella.data import ImageSet
from prunella.data import load as load_data
from prunella.data.known import SOURCES, Split
from prunella.terminal import progress_for_people

EXAMPLES = examples(
    "prunella data",
    "prunella data fashion-mnist --download",
    "prunella data imagefolder:my-photos",
)


def data(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="A data set to read and check, as for the --data of other commands; without it, "
            "all are listed.",
        ),
    ] = None,
    data_dir: o.DataDir = None,
    download: Annotated[
        bool, o.flag(o.DATA, "--download", "Fetch it if it is not on this machine.")
    ] = False,
) -> None:
    """List the data sets and whether they are here, or check and fetch one."""
    speaker = Speaker(quiet=False)
    progress = progress_for_people()
    advice = "Nothing else was done; files fetched so far are whole. Run the same command again."
    with interruptible(advice):
        if name is None:
            _list(speaker, data_dir)
            return
        config = DataConfig(data=name, data_dir=data_dir, download=download)
        for split in get_args(Split):
            samples = read_split(config, split, progress)
            speaker.say(f"{name} {split}: {len(samples):,} {_kind(samples)}")


def _kind(samples: AnySet) -> str:
    if not isinstance(samples, ImageSet):
        return "samples"
    shape = " x ".join(str(n) for n in samples.images.shape[1:])
    return f"images of {shape}, {len(samples.classes)} classes"


def _list(speaker: Speaker, data_dir: Path | None) -> None:
    table = Table("data set", box=None, padding=(0, 2), header_style="bold")
    table.add_column("training", justify="right", no_wrap=True)
    table.add_column("test", justify="right", no_wrap=True)
    table.add_column("")
    absent = []
    for known in ("bundled", *SOURCES):
        try:
            counts = [
                f"{len(load_data(known, split, data_dir=data_dir)):,}" for split in get_args(Split)
            ]
            table.add_row(known, *counts, "here")
        except FileError as error:
            if data_dir is not None and not data_dir.is_dir():
                raise
            damaged = "not found" not in str(error)
            what = "damaged" if damaged else "not here"
            table.add_row(known, "", "", what)
            absent.append(known)
    speaker.console.print(table)
    if absent:
        speaker.say(f"\nTo fetch one: {program()} data {absent[0]} --download")
