"""`prunella theory`."""

from __future__ import annotations

import csv
import math
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table as RichTable

from prunella.cli import options as o
from prunella.cli.helping import examples
from prunella.cli.interrupts import interruptible
from prunella.cli.invocation import command_line
from prunella.cli.rundir import require_file, require_writable
from prunella.cli.say import Speaker
from prunella.core.errors import FileError, InputError
from prunella.core.panels import Study
from prunella.files.atomic import read_text, write_atomically
from prunella.report import Table, draw_svg, render_studies
from prunella.theory import RISKS, Advice, Spectrum, advise, answer, family
from prunella.theory.families import SUMMARIES
from prunella.theory.studies import LABELS, STUDIES, advice_study

EXAMPLES = examples(
    "prunella theory predict --family spiked",
    "prunella theory predict --family power --n 400 --s 20 --noise 0.5",
    "prunella theory predict --spectrum mine.csv --n 100 --s 10 --out runs/advice",
    "prunella theory figures --out runs/figures",
)
NAMED = {"Families": dict(SUMMARIES)}
_FEATURES, _NOISE, _SAMPLES, _KEPT = 1000, 0.3, 200, 50
_SPECTRUM = "What is learnt"
_SHORT = ("dense", "magnitude", "Hessian", "oracle", "mag., retr.", "Hess., retr.")


class What(str, Enum):
    """What `prunella theory` is asked for."""

    PREDICT = "predict"
    FIGURES = "figures"


def theory(
    context: typer.Context,
    what: Annotated[
        What,
        typer.Argument(
            metavar="WHAT",
            help="predict: is it better to train a small model, or to prune a large one? figures: "
            "the five figures of the theory page, predicted and simulated anew.",
        ),
    ],
    family_name: Annotated[
        str | None,
        o.option(_SPECTRUM, "NAME", "A spectrum by name, see below.", name="--family"),
    ] = None,
    spectrum: Annotated[
        Path | None,
        o.option(
            _SPECTRUM,
            "FILE",
            "CSV file with one line eigenvalue,coefficient for each feature; models take features "
            "up in this order.",
        ),
    ] = None,
    features: Annotated[
        int | None,
        o.option(_SPECTRUM, "D", "Features of a named spectrum.", default=_FEATURES),
    ] = None,
    noise: Annotated[
        float | None,
        o.option(_SPECTRUM, "SIGMA", "Standard deviation of the labels' noise.", default=_NOISE),
    ] = None,
    n: Annotated[
        int | None, o.option(_SPECTRUM, "N", "Training samples.", default=_SAMPLES)
    ] = None,
    s: Annotated[
        int | None, o.option(_SPECTRUM, "S", "Coefficients to keep.", default=_KEPT)
    ] = None,
    out: Annotated[
        Path | None,
        o.option(
            o.RUN,
            "FOLDER",
            "For a page and a table (predict) or a page and five SVG files (figures); files of the "
            "same names are replaced. Without it predict only prints.",
            default="runs/theory for figures",
        ),
    ] = None,
    quiet: o.Quiet = False,
) -> None:
    """Predict the test errors of pruned linear models, from a spectrum, a noise and a size.

    The model is least squares on the first k of D Gaussian features. It is pruned to S
    coefficients, by their size, by the loss that removing them costs (Hessian), or by knowing
    which matter (oracle), and retrained or not.
    """
    speaker = Speaker(quiet=quiet)
    command = command_line(context.obj)
    with interruptible("Files written so far are whole; run the same command again."):
        if out is not None:
            require_writable(out, option="--out")
        if what is What.FIGURES:
            for_predict = {"family": family_name, "spectrum": spectrum, "features": features}
            o.refuse(for_predict | {"noise": noise, "n": n, "s": s}, "is for predict; give that")
            _figures(out or Path("runs/theory"), speaker, command)
            return
        chosen = _spectrum(family_name, spectrum, features)
        samples = _SAMPLES if n is None else n
        advice = advise(
            chosen.eigenvalues,
            chosen.coefficients,
            _NOISE if noise is None else noise,
            samples,
            _KEPT if s is None else s,
        )
        if not quiet:
            _say(advice, samples, speaker)
        if out is not None:
            _write(advice, samples, out, speaker, command)


def _spectrum(name: str | None, path: Path | None, features: int | None) -> Spectrum:
    if name is not None and path is None:
        return family(name, _FEATURES if features is None else features)
    if path is not None and name is None:
        o.refuse({"features": features}, "is for a named spectrum; give --family")
        return _read(path)
    given = "neither was" if name is None else "both were"
    raise InputError(
        f"--family and --spectrum: {given} given; expected one of them, for instance "
        "--family spiked."
    )


def _read(path: Path) -> Spectrum:
    require_file(path, option="--spectrum")
    eigenvalues, coefficients = [], []
    text = read_text(path).removeprefix("\ufeff")  # which spreadsheets put before UTF-8
    for line, row in enumerate(csv.reader(text.splitlines()), start=1):
        if not row or (line == 1 and row[0].strip().lower().startswith("eigenvalue")):
            continue
        try:
            eigenvalue, coefficient = (float(cell) for cell in row)
        except ValueError:
            raise FileError(
                f"{path}, line {line}: {','.join(row)[:60]!r}; expected two numbers, "
                "eigenvalue,coefficient."
            ) from None
        if not (0 <= eigenvalue < math.inf and math.isfinite(coefficient)):
            raise FileError(
                f"{path}, line {line}: {','.join(row)[:60]!r}; expected a variance of at least 0 "
                "and a coefficient, both finite."
            )
        eigenvalues.append(eigenvalue)
        coefficients.append(coefficient)
    if not eigenvalues:
        raise FileError(f"{path}: holds no numbers; expected lines eigenvalue,coefficient.")
    return Spectrum.of(eigenvalues, coefficients)


def _say(advice: Advice, n: int, speaker: Speaker) -> None:
    """The table with about fifteen sizes, and the answer."""
    shown = {*advice.sizes[::3], advice.sizes[-1], advice.size}
    shown |= {size for size in advice.sizes if size == n}
    table = RichTable("features", *_SHORT, box=None, padding=(0, 1), header_style="bold")
    for column in table.columns:
        column.justify = "right"
        column.no_wrap = True
    for size, row in _rows(advice):
        if size in shown:
            table.add_row(f"{size:,}", *row[:-1])
    speaker.tables.print(table)
    speaker.say(f"\nSmall model of the best features, trained directly: {advice.small:.4g}\n")
    for rule, size in advice.first_win:
        speaker.say(f"  {LABELS[rule]}: beats it from {size:,} features on")
    speaker.say(answer(advice))


def _rows(advice: Advice) -> list[tuple[int, list[str]]]:
    return [
        (size, [f"{getattr(one, rule):.4g}" for rule in RISKS])
        for size, one in zip(advice.sizes, advice.predictions, strict=True)
    ]


def _write(advice: Advice, n: int, out: Path, speaker: Speaker, command: str) -> None:
    rows = _rows(advice)
    lines = [",".join(("features", *RISKS)), *(",".join((str(k), *row)) for k, row in rows)]
    table = Table(
        title="Every size",
        head=("features", *(LABELS[rule] for rule in RISKS[:-1])),
        rows=tuple((f"{size:,}", *row[:-1]) for size, row in rows),
    )
    page = render_studies(
        "Train small, or prune large?",
        answer(advice),
        [advice_study(advice, n)],
        tables=[table],
        command=command,
    )
    write_atomically(out / "prediction.csv", "\n".join(lines) + "\n")
    write_atomically(out / "prediction.html", page)
    speaker.files(
        {
            out / "prediction.csv": "the risks at every size",
            out / "prediction.html": "the curve, to open in a browser",
        }
    )


def _figures(out: Path, speaker: Speaker, command: str) -> None:
    require_writable(out, option="--out")
    studies: list[Study] = []
    written: dict[Path, str] = {}
    for name, make in STUDIES.items():
        speaker.stage(name)
        studies.append(make())
        path = out / f"{name}.svg"
        write_atomically(path, draw_svg(studies[-1]))
        written[path] = studies[-1].title
    page = render_studies(
        "Pruning large linear models: predicted and simulated",
        "Five figures, the lines predicted from spectrum, noise and size, the points simulated.",
        studies,
        command=command,
    )
    write_atomically(out / "figures.html", page)
    speaker.files(written | {out / "figures.html": "all of them, to open in a browser"})
