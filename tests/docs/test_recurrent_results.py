"""The tables of docs/guide/recurrent-results.md say what is in the committed files."""

from __future__ import annotations

import csv
import statistics
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = (ROOT / "docs" / "guide" / "recurrent-results.md").read_text(encoding="utf-8")
EPOCHS, SEEDS = "25", ("0", "1", "2")
TASKS = ("nasdaq-range", "seattle-weather", "japanese-vowels")
FAMILIES = (
    "pf-lstm", "pf-gru", "lstm-equal", "gru-equal", "lstm-large", "gru-large", "bn-lstm-equal",
    "bn-gru-equal",
)  # fmt: skip


def rows(name):
    with (RESULTS / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def section(mark):
    """Lines of the table below a mark."""
    start = PAGE.index(f"<!-- {mark} -->")
    return PAGE[start : PAGE.index("\n\n", PAGE.index("|---", start))].splitlines()[3:]


def average(found, column):
    return statistics.mean(float(row[column]) for row in found)


def spread(found, column):
    return statistics.stdev(float(row[column]) for row in found)


def maze_line(found):
    first = found[0]
    cells = [f"`{first['configuration']}`", first["hidden"], first["particles"] or "–"]
    cells += [
        f"{int(first['parameters']):,}",
        first["learning_rate"],
        f"{average(found, 'test'):.2f}",
    ]
    cells += [f"{spread(found, 'test'):.2f}" if len(found) > 1 else "–"]
    seeds = {seed for row in found for seed in row["seed"].split()}
    timed = bool(first["cpu_s_per_epoch"])
    cells += [f"{average(found, 'cpu_s_per_epoch'):.1f}" if timed else "–"]
    return f"| {' | '.join([*cells, str(len(seeds))])} |"


def maze_lines(epochs):
    """One line for each network, from the smallest error to the largest."""
    own = [row for row in rows("maze.csv") if row["epochs"] == epochs and row["core"]]
    named = {
        name: [r for r in own if r["configuration"] == name]
        for name in (r["configuration"] for r in own)
    }
    return [maze_line(found) for found in sorted(named.values(), key=lambda f: average(f, "test"))]


def gap_lines():
    columns = ("gap", "seeds_standard_error", "walks_standard_error", "seeds")
    return [
        f"| `{row['first']}` | `{row['second']}` | {' | '.join(row[c] for c in columns)} |"
        for row in rows("maze-gaps.csv")
    ]


def belief_lines(name):
    own = [row for row in rows("maze-beliefs.csv") if row["configuration"] == name]
    columns = ("mean", "unweighted", "best_particle", "one_particle", "effective", "spread")
    lines = []
    for step in dict.fromkeys(row["step"] for row in own):
        found = [row for row in own if row["step"] == step]
        lines.append(
            f"| {step} | " + " | ".join(f"{average(found, c):.2f}" for c in columns) + " |"
        )
    return lines


def particle_lines():
    own = rows("maze-particles.csv")
    lines = []
    for name in dict.fromkeys(row["configuration"] for row in own):
        mine = [row for row in own if row["configuration"] == name]
        counts = dict.fromkeys(row["particles"] for row in mine)
        errors = [average([r for r in mine if r["particles"] == k], "last") for k in counts]
        lines.append(f"| `{name}` | " + " | ".join(f"{e:.2f}" for e in errors) + " |")
    return lines


def measured_lines():
    found, lines = rows("sequence-comparison.csv"), []
    for name in dict.fromkeys(row["configuration"] for row in found):
        cells = []
        for task in TASKS:
            own = [r for r in found if r["configuration"] == name and r["task"] == task]
            cell = "–" if not own else f"{average(own, 'test'):.3f}"
            cells.append(cell + (f" ({spread(own, 'test'):.3f})" if len(own) > 1 else ""))
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    anchors = {row["task"]: row["linear"] for row in rows("sequence-anchors.csv")}
    return [*lines, "| least squares | " + " | ".join(anchors[task] for task in TASKS) + " |"]


TABLES = {
    "maze": lambda: maze_lines(EPOCHS),
    "gaps": gap_lines,
    "beliefs pf-lstm": lambda: belief_lines("pf-lstm"),
    "beliefs pf-gru": lambda: belief_lines("pf-gru"),
    "particles": particle_lines,
    "measured": measured_lines,
}


@pytest.mark.parametrize("mark", TABLES)
def test_a_table_is_that_of_the_results(mark):
    assert section(mark) == TABLES[mark]()


def test_anchors_and_what_is_said_of_gaps():
    anchors = {r["configuration"]: float(r["test"]) for r in rows("maze.csv") if not r["core"]}
    assert f"constant has {anchors['constant']:.2f}" in PAGE
    assert f"Bayes filter {anchors['bayes']:.2f}" in PAGE

    def gaps(first, second):
        found = {(r["configuration"], r["seed"]): float(r["test"]) for r in rows("maze.csv")}
        return [100 * (1 - found[first, seed] / found[second, seed]) for seed in SEEDS]

    assert min(gaps("pf-gru", "gru-equal")) > 15
    shown = [f"{abs(gap):.0f}" for gap in gaps("pf-gru", "gru-equal")]
    assert f"by {shown[0]}, {shown[1]} and {shown[2]} %" in PAGE
    first, second, third = gaps("pf-lstm", "lstm-equal")
    assert f"by {first:.0f} % with seed 0, larger by {-second:.0f} and {-third:.0f} %" in PAGE
    assert max(gaps("pf-lstm", "bn-lstm-equal")) < 0


def test_what_is_said_of_beliefs():
    found = rows("maze-beliefs.csv")
    means = {}
    for name in ("pf-lstm", "pf-gru"):
        for step in ("1", "2", "5", "10", "20", "40"):
            own = [r for r in found if (r["configuration"], r["step"]) == (name, step)]
            assert {r["seed"] for r in own} == set(SEEDS)
            means[name, step] = own
    assert min(average(own, "effective") for own in means.values()) >= 9.8
    for own in means.values():
        assert abs(average(own, "mean") - average(own, "unweighted")) < 0.01
    assert all(average(means[name, "40"], "spread") < 0.1 for name in ("pf-lstm", "pf-gru"))
    particles = rows("maze-particles.csv")
    for name in ("pf-lstm", "pf-gru"):
        for seed in SEEDS:
            own = [r for r in particles if (r["configuration"], r["seed"]) == (name, seed)]
            errors = {r["particles"]: float(r["last"]) for r in own}
            assert all(abs(e / errors["10"] - 1) < 0.03 for e in errors.values())
    text = " ".join(PAGE.split())
    for words, name in {
        "the whole has": "pf-lstm",
        "without the ELBO it is": "pf-lstm-no-elbo",
        "with tanh": "pf-lstm-tanh",
        "without resampling": "pf-lstm-no-resampling",
        "with 5 particles": "pf-lstm-5",
        "with 30 particles": "pf-lstm-30",
    }.items():
        own = [row for row in rows("maze.csv") if row["configuration"] == name]
        assert {row["seed"] for row in own} == set(SEEDS)
        assert f"{words} {average(own, 'test'):.2f} ({spread(own, 'test'):.2f})" in text
