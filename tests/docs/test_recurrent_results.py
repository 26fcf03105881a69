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
SEEDS = ("3", "4", "5")
STEPS = ("1", "2", "5", "10", "20", "40")
LONG, SHORT = "maze-long", "maze"  # 3,150 updates of the weights, and 400
TASKS = ("nasdaq-range", "seattle-weather", "japanese-vowels", "movie-snippets")
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


def two_sides_lines(walks):
    """Each network with the rate that has the smaller error on the walks for validation."""
    own = [row for row in rows("two-sides.csv") if row["walks"] == walks and row["seed"]]
    lines = {}
    for name in dict.fromkeys(row["network"] for row in own):
        found = chosen(own, name)
        pooled = "–"
        if found[0]["last_step_pooled"]:
            pooled = f"{average(found, 'last_step_pooled'):.3f}"
        first = found[0]
        cells = [f"`{name}`", first["hidden"], first["learning_rate"]]
        cells += [f"{average(found, 'last_step'):.4f}", f"{spread(found, 'last_step'):.4f}", pooled]
        cells += [f"{average(found, 'both_sides'):.2f}", f"{average(found, 'log_density'):.2f}"]
        lines[f"| {' | '.join(cells)} |"] = average(found, "last_step")
    return sorted(lines, key=lines.__getitem__)


def chosen(own, name):
    """The rows of one network with the better of its rates."""
    mine = [row for row in own if row["network"] == name]
    tried = [
        [row for row in mine if row["learning_rate"] == rate]
        for rate in dict.fromkeys(row["learning_rate"] for row in mine)
    ]
    found = min(tried, key=lambda f: average(f, "validation"))
    assert [row["seed"] for row in found] == ["0", "1", "2"]
    return found


TABLES = {
    "two sides": lambda: two_sides_lines("512"),
    "two sides long": lambda: two_sides_lines("8192"),
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


def gap_row(first, second, table=LONG):
    (row,) = [
        row for row in rows(f"{table}-gaps.csv") if (row["first"], row["second"]) == (first, second)
    ]
    return row


def test_anchors_and_what_is_said_of_gaps():
    anchors = {r["configuration"]: float(r["test"]) for r in rows("maze-long.csv") if not r["core"]}
    assert f"constant has {anchors['constant']:.2f}" in PAGE
    assert f"Bayes filter {anchors['bayes']:.2f}" in PAGE
    of_gru, of_norm = gap_row("pf-gru", "gru-equal"), gap_row("pf-gru", "bn-gru-equal")
    of_lstm = gap_row("pf-lstm", "lstm-equal")
    said = f"the PF-GRU has {of_gru['gap']} % less error than the GRU of equal parameters"
    assert said in TEXT
    assert f"with a standard error of {of_gru['seeds_standard_error']}; less with" in TEXT
    assert f"{of_norm['gap']} % ({of_norm['seeds_standard_error']}) better than the same" in TEXT
    assert f"has {of_lstm['gap']} % ({of_lstm['seeds_standard_error']}) less error than the" in TEXT
    assert min(gaps(LONG, "pf-gru", "gru-equal")) > 15 > float(of_lstm["gap"])
    assert float(of_lstm["gap"]) < float(of_lstm["seeds_standard_error"])
    first, second, third = gaps(LONG, "pf-gru", "gru-equal")
    assert f"smaller by {first:.0f}, {second:.0f} and {third:.0f} %. The third" in TEXT
    assert f"({errors_of(LONG)['gru-equal', '5']:.2f}); the other two alone" in TEXT
    assert f"alone give {(first + second) / 2:.0f} %" in TEXT
    first, second, third = gaps(LONG, "pf-lstm", "lstm-equal")
    assert f"by {first:.0f} and {second:.0f} % with seeds 3 and 4" in TEXT
    assert f"larger by {-third:.0f} % with seed 5" in TEXT
    first, second, third = gaps(LONG, "pf-gru", "bn-gru-equal")
    assert f"every seed ({first:.0f}, {second:.0f} and {third:.0f} %)" in TEXT
    of_norm = gap_row("pf-lstm", "bn-lstm-equal")
    assert -2 * float(of_norm["seeds_standard_error"]) < float(of_norm["gap"]) < 0
    assert f"has {mean_of('pf-gru-1')} in place of {mean_of('pf-gru')}" in TEXT
    one = gap_row("pf-gru", "pf-gru-1")
    assert abs(float(one["gap"])) < float(one["seeds_standard_error"])
    assert min(gaps(LONG, "pf-gru", "gru-large")) > 0
    assert max(gaps(LONG, "pf-lstm", "lstm-large")) < 0
    assert abs(float(mean_of("pf-gru")[:4]) - float(mean_of("lstm-large")[:4])) < 0.02
    sized = [n for n in dict(errors_of(LONG)) if not n[0].endswith(("-large", "-ensemble"))]
    names = {name for name, seed in sized if seed in SEEDS}
    assert min(names, key=lambda n: float(mean_of(n)[:4])) == "pf-gru"
    ensemble = errors_of(LONG)["bn-gru-ensemble", "3 4 5"]
    assert f"have the smallest error, {ensemble:.2f}" in TEXT
    assert ensemble < min(float(mean_of(name)[:4]) for name in names | {"lstm-large"})


def test_what_is_said_of_earlier_comparisons():
    for first, second in (("pf-lstm", "lstm-equal"), ("pf-gru", "gru-equal")):
        gap = gap_row(first, second, "maze-pooled")["gap"]
        assert f"{gap} % less error for the PF-LSTM" in TEXT or f"{gap} % for the PF-GRU" in TEXT
    chosen = [
        {
            name: min(
                (float(row["validation"]), row["learning_rate"])
                for row in rows(table)
                if row["configuration"] == name
            )
            for name in ("pf-lstm", "pf-gru", "bn-lstm-equal", "bn-gru-equal")
        }
        for table in ("maze-search.csv", "maze-search-by-step.csv")
    ]
    changed = [name for name in chosen[0] if chosen[0][name][1] != chosen[1][name][1]]
    assert changed == ["bn-gru-equal"]
    tried = {
        row["learning_rate"]: float(row["validation"])
        for row in rows("maze-search-by-step.csv")
        if row["configuration"] == "bn-gru-equal"
    }
    assert abs(tried["0.001"] - tried["0.003"]) < 0.002
    worse = []
    for name in ("pf-lstm", "pf-gru"):
        both = [
            average(
                [
                    row
                    for row in rows(table)
                    if (row["task"], row["configuration"]) == ("japanese-vowels", name)
                ],
                "test",
            )
            for table in ("sequence-pooled.csv", "sequence-comparison.csv")
        ]
        worse.append(both[0] / both[1])
    assert 2.4 < max(worse) < 2.7


def test_what_is_said_of_two_sides():
    (exact,) = {row["last_step"] for row in rows("two-sides.csv") if row["network"] == "exact"}
    assert f"exact filter has {float(exact):.4f}" in TEXT
    own = {w: [r for r in rows("two-sides.csv") if r["walks"] == w] for w in ("512", "8192")}
    apart, of_lstm, of_norm = (
        chosen(own["512"], name) for name in ("pf-gru-apart", "lstm-equal", "bn-gru-equal")
    )
    said = f"has {average(apart, 'last_step'):.3f} and the LSTM {average(of_lstm, 'last_step'):.3f}"
    assert said in TEXT
    assert 6 < average(of_lstm, "last_step") / average(apart, "last_step") < 8  # a seventh
    for one, other in zip(apart, of_lstm, strict=True):
        assert float(one["last_step"]) < float(other["last_step"])
    assert f"the BN-GRU has {average(of_norm, 'last_step'):.3f}" in TEXT
    assert f"both sides in {100 * average(apart, 'both_sides'):.0f} % of the walks" in TEXT
    plain = [100 * average(chosen(own["512"], n), "both_sides") for n in ("pf-lstm", "pf-gru")]
    assert f"keep them in {plain[0]:.0f} and {plain[1]:.0f} %" in TEXT
    later = {row["network"]: chosen(own["8192"], row["network"]) for row in own["8192"][1:]}
    best = average(later["lstm-equal"], "last_step")
    assert f"the LSTM has {best:.3f}" in TEXT
    assert 3 < best / float(exact) < 4
    assert all(average(later[n], "last_step") > best for n in later if n.startswith("pf-"))
    nats = (
        average(later["pf-gru-apart"], "log_density"),
        average(later["lstm-equal"], "log_density"),
    )
    assert f"{nats[0]:.2f} nats in place of {nats[1]:.2f}" in TEXT
    pooled = [
        average(chosen(table, name), "last_step_pooled") / average(chosen(table, name), "last_step")
        for table in own.values()
        for name in ("pf-gru", "pf-gru-apart")
    ]
    assert f"{min(pooled):.0f} to {max(pooled):.0f} times the error" in TEXT


def test_what_is_said_of_the_short_training():
    of_gru = gaps(SHORT, "pf-gru", "gru-equal")
    shown = [f"{gap:.0f}" for gap in of_gru]
    assert f"every seed (by {shown[0]}, {shown[1]} and {shown[2]} %)" in TEXT
    assert f"({errors_of(SHORT)['gru-equal', '4']:.2f}); the other two seeds" in TEXT
    assert f"seeds alone give {(of_gru[0] + of_gru[2]) / 2:.0f} %" in TEXT
    first, second, third = gaps(SHORT, "pf-lstm", "lstm-equal")
    assert f"by {first:.0f} and {second:.0f} % with seeds 3 and 4, larger by {-third:.0f} %" in TEXT
    for name, other in (("pf-gru", "bn-gru-equal"), ("pf-lstm", "bn-lstm-equal")):
        row = gap_row(name, other, SHORT)
        assert -2 * float(row["seeds_standard_error"]) < float(row["gap"]) < 0
    one = gap_row("pf-lstm", "pf-lstm-1", SHORT)
    said = f"{float(one['gap']):.0f} % less error, with a standard error of"
    assert f"ten have {said} {float(one['seeds_standard_error']):.0f}." in TEXT
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


@pytest.mark.parametrize(("table", "least"), [(LONG, 9.3), (SHORT, 9.5)])
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
            assert all(abs(e / errors["10"] - 1) < 0.11 for e in errors.values())


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
    lineages = []
    for name in ("pf-lstm", "pf-gru"):
        last, published = beliefs(f"{name}-systematic", "40"), beliefs(name, "40")
        lineages.append(
            round(average(beliefs(f"{name}-systematic", "40", kind="lineages"), "lineages"))
        )
        assert 8 < average(last, "spread") / average(published, "spread") < 13
        assert 0.55 < average(last, "best_particle") / average(last, "mean") < 0.85
        assert min(average(beliefs(f"{name}-systematic", s), "effective") for s in STEPS) > 9.4
        row = gap_row(name, f"{name}-systematic")
        assert 0 < float(row["gap"]) < 2 * float(row["seeds_standard_error"])
    assert lineages == [7, 4]
    more = [gap_row(name, f"{name}-systematic")["gap"] for name in ("pf-lstm", "pf-gru")]
    assert f"published ones have {more[0]} and {more[1]} % less error" in TEXT
    said = f"{mean_of('pf-lstm-systematic')} against {mean_of('pf-lstm')} for the PF-LSTM, "
    assert f"{said}{mean_of('pf-gru-systematic')} against {mean_of('pf-gru')} for the" in TEXT
    decision = (ROOT / "docs" / "decisions" / "0022-published-draws.md").read_text(encoding="utf-8")
    words = " ".join(decision.split())
    for name in ("pf-lstm", "pf-gru"):
        assert f"{mean_of(f'{name}-systematic')[:4]} against {mean_of(name)[:4]} for the" in words


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
    assert f"The mean has {mean_of(name)}, larger than the PF-LSTM's with two seeds" in TEXT
    assert sorted(gap > 0 for gap in gaps(LONG, name, "pf-lstm")) == [False, False, True]


def test_what_is_said_of_densities():
    names = list(dict.fromkeys(row["configuration"] for row in rows("maze-long-densities.csv")))
    at = {
        (name, step): average(beliefs(name, step, kind="densities"), "log_density")
        for name in names
        for step in STEPS
    }
    order = sorted(names, key=lambda name: at[name, "40"], reverse=True)
    assert order[:2] == ["pf-gru", "lstm-large"]
    better = at["pf-lstm-apart", "40"] - at["pf-lstm", "40"]
    assert f"says {better:.2f} nats more" in TEXT
    assert 1.08 < float(mean_of("pf-lstm-apart")[:4]) / float(mean_of("pf-lstm")[:4]) < 1.13
    for step in ("10", "20"):
        assert max(names, key=lambda name: at[name, step]) == "pf-gru-systematic"


@pytest.mark.parametrize("name", ["lstm-equal", "gru-equal", "lstm-large", "bn-gru-equal"])
def test_the_density_of_a_single_prediction_follows_from_its_error(name):
    """Both coordinates: -error / sigma^2 - log(2 pi sigma^2), with the error of each."""
    errors = errors_of(LONG)
    for row in beliefs(name, "40", kind="densities"):
        variance = float(row["sigma"]) ** 2
        expected = -errors[name, row["seed"]] / variance - math.log(2 * math.pi * variance)
        assert float(row["log_density"]) == pytest.approx(expected, abs=2e-4)


def measured(name, task, table="sequence-comparison.csv"):
    found = [r for r in rows(table) if (r["configuration"], r["task"]) == (name, task)]
    assert found
    return found


def test_what_is_said_of_measured_sequences():
    for task in TASKS:
        for name, other in (("pf-lstm", "lstm-equal"), ("pf-gru", "gru-equal")):
            both = measured(name, task), measured(other, task)
            apart = abs(average(both[0], "test") - average(both[1], "test"))
            assert apart < 2 * max(spread(found, "test") for found in both)
        for name in ("pf-lstm", "pf-gru"):  # in decision 22
            both = measured(name, task), measured(f"{name}-systematic", task)
            error = (sum(spread(found, "test") ** 2 for found in both) / len(both[0])) ** 0.5
            assert abs(average(both[0], "test") - average(both[1], "test")) < 2 * error
        whole = measured("pf-lstm", task)
        for part in ("1", "5", "30", "no-elbo", "no-resampling", "tanh", "loud", "apart"):
            found = [r for r in rows("sequence-comparison.csv") if r["task"] == task]
            found = [r for r in found if r["configuration"] == f"pf-lstm-{part}"]
            if found:
                apart = abs(average(found, "test") - average(whole, "test"))
                assert apart < 2 * max(spread(found, "test"), spread(whole, "test"))
    mean = {
        (name, task): average(measured(name, task), "test")
        for name in (*FAMILIES, "gru-ensemble")
        for task in TASKS[:3]
    }
    linear = {row["task"]: float(row["linear"]) for row in rows("sequence-anchors.csv")}
    assert all(mean[name, "nasdaq-range"] < linear["nasdaq-range"] for name in FAMILIES)
    assert all(mean[name, "seattle-weather"] > linear["seattle-weather"] for name in FAMILIES)
    less = 1 - mean["pf-lstm", "seattle-weather"] / mean["lstm-equal", "seattle-weather"]
    more = mean["pf-gru", "seattle-weather"] / mean["gru-equal", "seattle-weather"] - 1
    said = f"{100 * less:.0f} % less error than the LSTM, the PF-GRU {100 * more:.0f} % more"
    assert said in TEXT
    order = sorted((mean[name, "japanese-vowels"], name) for name in FAMILIES)
    assert [name for _, name in order[:2]] == ["pf-gru", "gru-equal"]
    assert (order[1][0] - order[0][0]) * 370 == pytest.approx(1, abs=0.2)
    for task in ("nasdaq-range", "japanese-vowels"):
        assert mean["gru-ensemble", task] < min(mean[name, task] for name in FAMILIES)
    old = [
        average(measured(name, "japanese-vowels", "sequence-pooled.csv"), "test")
        for name in ("pf-lstm", "pf-gru")
    ]
    assert f"PF-LSTM {old[0]:.3f} and the PF-GRU {old[1]:.3f}" in TEXT
    texts = [average(measured(name, TASKS[3]), "test") for name in FAMILIES]
    assert f"single networks are between {min(texts):.3f} and {max(texts):.3f}, ensembles" in TEXT
    for name in ("lstm-ensemble", "gru-ensemble", "bn-gru-ensemble"):
        assert abs(average(measured(name, TASKS[3]), "test") - 0.3) < 0.006
    assert {row["sequences"] for row in measured("pf-gru", TASKS[3])} == {"2000"}
    (anchor,) = [row for row in rows("sequence-anchors.csv") if row["task"] == TASKS[3]]
    assert f"from all {int(anchor['train']):,} and not from 2,000" in TEXT
