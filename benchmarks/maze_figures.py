"""Pictures of the comparison in the maze, from the tables of maze.py and maze_evidence.py.

    python benchmarks/maze_figures.py --tables benchmarks/results/maze-long.csv \
        --out docs/assets/maze-comparison.svg
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

from _sequences import COLUMNS, CURVES, Table
from maze_evidence import BELIEFS, PARTICLES
from prunella.core.panels import Curve, Panel, Study
from prunella.report import draw_svg

SHOWN = {
    "pf-lstm": "PF-LSTM",
    "pf-gru": "PF-GRU",
    "lstm-equal": "LSTM",
    "gru-equal": "GRU",
    "bn-lstm-equal": "BN-LSTM",
    "bn-gru-equal": "BN-GRU",
}
BELIEFS_SHOWN = {
    "pf-lstm": "PF-LSTM",
    "pf-gru": "PF-GRU",
    "pf-lstm-systematic": "PF-LSTM, systematic draws",
    "pf-gru-systematic": "PF-GRU, systematic draws",
    "pf-lstm-apart": "PF-LSTM, all that keeps particles apart",
}
Rows = list[dict[str, str]]


def mean(rows: Rows, column: str) -> tuple[float, float]:
    """Mean over the seeds and its standard error."""
    values = [float(row[column]) for row in rows]
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return statistics.mean(values), spread / len(values) ** 0.5


def by(rows: Rows, column: str, value: str, name: str, *, label: str | None = None) -> Curve:
    """The mean of a column over another one, of one configuration."""
    mine = [row for row in rows if row["configuration"] == name]
    places = sorted({float(row[column]) for row in mine})
    points = [mean([r for r in mine if float(r[column]) == x], value) for x in places]
    return Curve(name=label or SHOWN[name], x=tuple(places), y=tuple(p[0] for p in points))


def learning(rows: Rows, epochs: str) -> Panel:
    own = [row for row in rows if row["epochs"] == epochs]
    return Panel(
        title="Learning",
        x_title="epoch",
        y_title="error at the last step, validation",
        curves=tuple(by(own, "epoch", "validation", name) for name in SHOWN),
    )


def against_time(rows: Rows) -> Panel:
    curves = []
    for name, label in SHOWN.items():
        points = []
        for epochs in sorted({row["epochs"] for row in rows}, key=int):
            own = [r for r in rows if r["configuration"] == name and r["epochs"] == epochs]
            if own:
                spent = int(epochs) * mean(own, "cpu_s_per_epoch")[0]
                points.append((spent, *mean(own, "test")))
        x, y, errors = zip(*points, strict=True)
        curves.append(Curve(name=label, x=x, y=y, errors=errors, marks=True))
    return Panel(
        title="Error and processor time of the training",
        x_title="seconds of one thread",
        y_title="error at the last step, test",
        curves=tuple(curves),
    )


def of_beliefs(rows: Rows, column: str, value: str) -> tuple[Curve, ...]:
    """A column over another one, of every network with a belief that the rows have."""
    there = {row["configuration"] for row in rows}
    shown = {name: label for name, label in BELIEFS_SHOWN.items() if name in there}
    return tuple(by(rows, column, value, name, label=label) for name, label in shown.items())


def particles(evaluated: Rows) -> Panel:
    return Panel(
        title="Particles in evaluation, trained with 10",
        x_title="particles",
        y_title="error at the last step, test",
        curves=of_beliefs(evaluated, "particles", "last"),
        log_x=True,
    )


def along(beliefs: Rows) -> Panel:
    return Panel(
        title="How far particles lie from their mean",
        x_title="step",
        y_title="root mean square, cells",
        curves=of_beliefs(beliefs, "step", "spread"),
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--tables", type=Path, default=Path("benchmarks/results/maze.csv"))
    options.add_argument("--out", type=Path, default=Path("maze-comparison.svg"))
    given = options.parse_args()

    def beside(kind: str, columns: tuple[str, ...]) -> Rows:
        path = given.tables.with_name(f"{given.tables.stem}-{kind}.csv")
        return Table(path, columns).rows()

    rows = [row for row in Table(given.tables, COLUMNS).rows() if row["best_epoch"]]
    epochs = min((row["epochs"] for row in rows), key=int)
    study = Study(
        key="maze",
        title="Networks with a belief against gated ones in the maze",
        text="",
        panels=(
            learning(beside("curves", CURVES), epochs),
            against_time(rows),
            particles(beside("particles", PARTICLES)),
            along(beside("beliefs", BELIEFS)),
        ),
        names=tuple(SHOWN.values()),
    )
    given.out.with_suffix(".svg").write_text(draw_svg(study), encoding="utf-8")


if __name__ == "__main__":
    main()
