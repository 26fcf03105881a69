"""The tables of docs/guide/recurrent-results.md say what is in the committed files."""

from __future__ import annotations

import csv
import math
import statistics
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = (ROOT / "docs" / "guide" / "recurrent-results.md").read_text(encoding="utf-8")
TEXT = " ".join(PAGE.split())
SEEDS = ("0", "1", "2")
STEPS = ("1", "2", "5", "10", "20", "40")
LONG, SHORT = "maze-long", "maze"  # 3,150 updates of the weights, and 400
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


def maze_lines(table):
    """One line for each network, from the smallest error to the largest."""
    own = [row for row in rows(f"{table}.csv") if row["core"]]
    named = {
        name: [r for r in own if r["configuration"] == name]
        for name in (r["configuration"] for r in own)
    }
    return [maze_line(found) for found in sorted(named.values(), key=lambda f: average(f, "test"))]


def gap_lines(table):
    columns = ("gap", "seeds_standard_error", "walks_standard_error", "seeds")
    return [
        f"| `{row['first']}` | `{row['second']}` | {' | '.join(row[c] for c in columns)} |"
        for row in rows(f"{table}-gaps.csv")
    ]


def belief_lines(name):
    own = [row for row in rows(f"{LONG}-beliefs.csv") if row["configuration"] == name]
    traced = [row for row in rows(f"{LONG}-lineages.csv") if row["configuration"] == name]
    columns = ("mean", "unweighted", "best_particle", "one_particle", "effective", "spread")
    lines = []
    for step in dict.fromkeys(row["step"] for row in own):
        found = [row for row in own if row["step"] == step]
        cells = [step, *(f"{average(found, c):.2f}" for c in columns)]
        cells += [f"{average([r for r in traced if r['step'] == step], 'lineages'):.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def particle_lines():
    own = rows(f"{LONG}-particles.csv")
    lines = []
    for name in dict.fromkeys(row["configuration"] for row in own):
        mine = [row for row in own if row["configuration"] == name]
        counts = dict.fromkeys(row["particles"] for row in mine)
        errors = [average([r for r in mine if r["particles"] == k], "last") for k in counts]
        lines.append(f"| `{name}` | " + " | ".join(f"{e:.2f}" for e in errors) + " |")
    return lines


def density_lines():
    """Means over the seeds at some steps, from the best at the last step to the worst."""
    own, lines = rows(f"{LONG}-densities.csv"), {}
    for name in dict.fromkeys(row["configuration"] for row in own):
        mine = [row for row in own if row["configuration"] == name]
        steps = [[r for r in mine if r["step"] == step] for step in ("5", "10", "20", "40")]
        cells = [f"{average(found, 'log_density'):.2f}" for found in steps]
        cells.append(f"{spread(steps[-1], 'log_density'):.2f}")
        line = f"| `{name}` | " + " | ".join(cells) + " |"
        lines[line] = average(steps[-1], "log_density")
    return sorted(lines, key=lines.__getitem__, reverse=True)


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
    "maze": lambda: maze_lines(LONG),
    "gaps": lambda: gap_lines(LONG),
    "maze short": lambda: maze_lines(SHORT),
    "gaps short": lambda: gap_lines(SHORT),
    "beliefs pf-lstm": lambda: belief_lines("pf-lstm"),
    "beliefs pf-gru": lambda: belief_lines("pf-gru"),
    "beliefs pf-lstm-systematic": lambda: belief_lines("pf-lstm-systematic"),
    "beliefs pf-gru-systematic": lambda: belief_lines("pf-gru-systematic"),
    "beliefs pf-lstm-apart": lambda: belief_lines("pf-lstm-apart"),
    "densities": density_lines,
    "particles": particle_lines,
    "measured": measured_lines,
}


@pytest.mark.parametrize("mark", TABLES)
def test_a_table_is_that_of_the_results(mark):
    assert section(mark) == TABLES[mark]()


def errors_of(table):
    """Error of the last step, by configuration and seed."""
    return {(r["configuration"], r["seed"]): float(r["test"]) for r in rows(f"{table}.csv")}


def gaps(table, first, second):
    """By how much the first has the smaller error, in percent, seed by seed."""
    found = errors_of(table)
    return [100 * (1 - found[first, seed] / found[second, seed]) for seed in SEEDS]


def beliefs(name, step, table=LONG, kind="beliefs"):
    own = [
        row
        for row in rows(f"{table}-{kind}.csv")
        if (row["configuration"], row["step"]) == (name, step)
    ]
    assert {row["seed"] for row in own} == set(SEEDS)
    return own


def test_anchors_and_what_is_said_of_gaps():
    anchors = {r["configuration"]: float(r["test"]) for r in rows("maze-long.csv") if not r["core"]}
    assert f"constant has {anchors['constant']:.2f}" in PAGE
    assert f"Bayes filter {anchors['bayes']:.2f}" in PAGE
    first, second, third = gaps(LONG, "pf-lstm", "lstm-equal")
    assert f"by {first:.0f} and {second:.0f} % with seeds 0 and 1" in TEXT
    assert f"larger by {-third:.0f} % with seed 2" in TEXT
    first, second, third = gaps(LONG, "pf-gru", "gru-equal")
    assert f"larger by {-first:.0f} % with seed 0" in TEXT
    assert f"smaller by {second:.0f} and {third:.0f} % with seeds 1 and 2" in TEXT
    aims = (("pf-lstm", "lstm-equal"), ("pf-gru", "gru-equal"))
    means = [row for row in rows("maze-long-gaps.csv") if (row["first"], row["second"]) in aims]
    of_lstm, of_gru = means
    assert f"{of_lstm['gap']} and {of_gru['gap']} %" in TEXT
    of_seeds = [float(row["seeds_standard_error"]) for row in means]
    assert f"standard errors of {of_seeds[0]} and {of_seeds[1]}" in TEXT
    assert all(float(row["gap"]) < error for row, error in zip(means, of_seeds, strict=True))
    assert max(gaps(LONG, "pf-lstm", "lstm-large")) < 0
    assert sorted(gap > 0 for gap in gaps(LONG, "pf-gru", "gru-large")) == [False, False, True]


def test_what_is_said_of_the_short_training():
    assert min(gaps(SHORT, "pf-gru", "gru-equal")) > 15
    shown = [f"{abs(gap):.0f}" for gap in gaps(SHORT, "pf-gru", "gru-equal")]
    assert f"by {shown[0]}, {shown[1]} and {shown[2]} %" in PAGE
    first, second, third = gaps(SHORT, "pf-lstm", "lstm-equal")
    assert f"by {first:.0f} % with seed 0, larger by {-second:.0f} and {-third:.0f} %" in PAGE
    assert max(gaps(SHORT, "pf-lstm", "bn-lstm-equal")) < 0
    for words, name in {
        "the whole has": "pf-lstm",
        "without the ELBO it is": "pf-lstm-no-elbo",
        "with tanh": "pf-lstm-tanh",
        "without resampling": "pf-lstm-no-resampling",
        "with 5 particles": "pf-lstm-5",
        "with 30 particles": "pf-lstm-30",
        "with systematic draws": "pf-lstm-systematic",
        "with the noise of 0.7": "pf-lstm-loud",
    }.items():
        own = [row for row in rows("maze.csv") if row["configuration"] == name]
        assert {row["seed"] for row in own} == set(SEEDS)
        assert f"{words} {average(own, 'test'):.2f} ({spread(own, 'test'):.2f})" in TEXT


@pytest.mark.parametrize(("table", "least"), [(LONG, 9.6), (SHORT, 9.8)])
def test_what_is_said_of_collapsed_beliefs(table, least):
    for name in ("pf-lstm", "pf-gru"):
        for step in STEPS:
            assert average(beliefs(name, step, table), "effective") >= least
        last = beliefs(name, "40", table)
        assert abs(average(last, "mean") - average(last, "unweighted")) < 0.01
        assert average(last, "spread") < (0.05 if table == LONG else 0.1)
        assert average(last, "best_particle") > 0.94 * average(last, "mean")
        for seed in SEEDS:
            errors = evaluated(name, seed, table)
            assert all(abs(e / errors["10"] - 1) < 0.082 for e in errors.values())


def evaluated(name, seed, table=LONG):
    """Error of the last step by the number of particles in evaluation."""
    own = rows(f"{table}-particles.csv")
    found = [row for row in own if (row["configuration"], row["seed"]) == (name, seed)]
    return {row["particles"]: float(row["last"]) for row in found}


def mean_of(name, table=LONG):
    own = [row for row in rows(f"{table}.csv") if row["configuration"] == name]
    assert {row["seed"] for row in own} == set(SEEDS)
    return f"{average(own, 'test'):.2f} ({spread(own, 'test'):.2f})"


def test_what_is_said_of_systematic_draws():
    name, last = "pf-lstm-systematic", beliefs("pf-lstm-systematic", "40")
    assert round(average(beliefs(name, "40", kind="lineages"), "lineages")) == 7
    published = beliefs("pf-lstm", "40")
    assert round(average(last, "spread") / average(published, "spread")) in (10, 11)
    assert abs(average(last, "best_particle") / average(last, "mean") - 5 / 8) < 0.02
    assert min(average(beliefs(name, step), "effective") for step in STEPS) > 9.9
    found = [evaluated(name, seed) for seed in SEEDS]
    alone = [100 * (errors["1"] / errors["10"] - 1) for errors in found]
    assert f"in place of ten costs {min(alone):.0f} to {max(alone):.0f} %" in TEXT
    assert f"{mean_of(name)} against {mean_of('pf-lstm')} with the published draws" in TEXT
    own = gaps(LONG, name, "pf-lstm")
    error = statistics.stdev(own) / len(own) ** 0.5
    assert f"{statistics.mean(own):.0f} % less with a standard error of {error:.0f}" in TEXT
    assert [gap > 0 for gap in own] == [False, True, True]
    shown = [f"{gap:.0f}" for gap in gaps(LONG, name, "lstm-equal")]
    assert f"smaller with every seed ({shown[0]}, {shown[1]} and {shown[2]} %)" in TEXT
    overall = statistics.mean(gaps(LONG, name, "lstm-equal"))
    assert overall > 15
    assert TEXT.count(f"{overall:.0f} % less error") == 2
    early = -statistics.mean(gaps(SHORT, name, "pf-lstm"))
    assert f"systematic draws had {early:.0f} % more error" in TEXT


def test_what_is_said_of_systematic_draws_of_the_pf_gru():
    name = "pf-gru-systematic"
    assert f"{mean_of(name)} with systematic draws against {mean_of('pf-gru')}" in TEXT
    own = gaps(LONG, name, "gru-equal")
    error = statistics.stdev(own) / len(own) ** 0.5
    assert statistics.mean(own) > 15
    assert f"{statistics.mean(own):.0f} % less, with a standard error of {error:.0f}" in TEXT
    assert f"by {own[0]:.0f} and {own[1]:.0f} % with seeds 0 and 1" in TEXT
    assert f"larger by {-own[2]:.0f} % with seed 2. Five" in TEXT
    assert round(average(beliefs(name, "40", kind="lineages"), "lineages")) == 5
    assert max(gaps(LONG, name, "bn-gru-equal")) < 0
    of_lstm = gaps(LONG, "pf-lstm-systematic", "lstm-equal")
    other = statistics.stdev(of_lstm) / len(of_lstm) ** 0.5
    errors = f"with standard errors of {other:.0f} and {error:.0f}"
    assert f"{statistics.mean(own):.0f} % less than the GRU's, {errors}" in TEXT


def test_what_is_said_of_particles_that_are_kept_apart():
    name, last = "pf-lstm-apart", beliefs("pf-lstm-apart", "40")
    assert all(round(average(beliefs(name, s, kind="lineages"), "lineages")) == 10 for s in STEPS)
    assert average(last, "best_particle") < average(last, "mean") / 3
    more = [100 * (float(row["unweighted"]) / float(row["mean"]) - 1) for row in last]
    assert f"{min(more):.0f} to {max(more):.0f} % more error. With one of them" in TEXT
    found = [evaluated(name, seed) for seed in SEEDS]
    alone = [100 * (errors["1"] / errors["10"] - 1) for errors in found]
    assert f"{min(alone):.0f} to {max(alone):.0f} % more error, with thirty" in TEXT
    many = [100 * (1 - errors["30"] / errors["10"]) for errors in found]
    assert f"{min(many):.0f} to {max(many):.0f} % less" in TEXT
    assert f"the mean has {mean_of(name)}" in TEXT
    worse = sorted(-gap for gap in gaps(LONG, name, "pf-lstm"))
    assert f"by {worse[2]:.0f} %, one by {worse[1]:.0f} %, one is level" in TEXT
    assert abs(worse[0]) < 5


def test_what_is_said_of_densities():
    names = list(dict.fromkeys(row["configuration"] for row in rows("maze-long-densities.csv")))
    apart = ("pf-lstm-systematic", "pf-lstm-apart")
    at = {
        (name, step): average(beliefs(name, step, kind="densities"), "log_density")
        for name in names
        for step in STEPS
    }
    better = [at[name, "40"] - at["pf-lstm", "40"] for name in apart]
    said = f"{better[0]:.2f} (systematic draws) and {better[1]:.2f} nats better than the PF-LSTM"
    assert said in TEXT
    better = [at[name, "40"] - at["lstm-equal", "40"] for name in apart]
    assert f"{better[0]:.2f} and {better[1]:.2f} better than the LSTM" in TEXT
    for step in ("10", "20"):
        order = sorted(names, key=lambda name: at[name, step], reverse=True)
        assert set(order[:2]) == set(apart)
    assert min(at["lstm-large", "40"], at["bn-gru-equal", "40"]) > max(at[n, "40"] for n in apart)


@pytest.mark.parametrize("name", ["lstm-equal", "gru-equal", "lstm-large", "bn-gru-equal"])
def test_the_density_of_a_single_prediction_follows_from_its_error(name):
    """Both coordinates: -error / sigma^2 - log(2 pi sigma^2), with the error of each."""
    errors = errors_of(LONG)
    for row in beliefs(name, "40", kind="densities"):
        variance = float(row["sigma"]) ** 2
        expected = -errors[name, row["seed"]] / variance - math.log(2 * math.pi * variance)
        assert float(row["log_density"]) == pytest.approx(expected, abs=2e-4)
