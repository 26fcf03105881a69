"""The scripts behind docs/guide/recurrent-results.md: rows once, rates from a search, evidence."""

from __future__ import annotations

import csv
import runpy
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SMALL = (
    "--sequences", 16, "--steps", 3, "--hidden", 4, "--particles", 3, "--batch", 8, "--epochs", 2,
)  # fmt: skip


@pytest.fixture
def script(monkeypatch):
    """Runs a script as the command line does; its modules are forgotten afterwards."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(BENCHMARKS / name), run_name="__main__")

    yield run
    for name in ("_sequences", "maze_evidence", "two_sides"):
        sys.modules.pop(name, None)


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_maze_from_the_search_to_the_picture(script, tmp_path, capsys):
    families = (
        "pf-lstm", "pf-gru", "lstm-equal", "gru-equal", "lstm-large", "gru-large",
        "bn-lstm-equal", "bn-gru-equal",
    )  # fmt: skip
    search, out = tmp_path / "search.csv", tmp_path / "maze.csv"
    script("maze.py", *SMALL, "--search", 1e-3, 3e-2, "--seeds", 0, "--out", search)
    found = rows(search)
    assert [row["configuration"] for row in found] == [*families, *families]
    assert {row["test"] for row in found} == {""}  # nothing can be chosen by the test

    given = [*SMALL, "--rates", search, "--data-seed", 2, "--seeds", 0, 1, "--out", out]
    own = ["constant", *families, "pf-lstm-1", "gru-ensemble"]
    script("maze.py", *given, "--only", *own)
    table = rows(out)
    for row in table:
        name = {"pf-lstm-1": "pf-lstm", "gru-ensemble": "gru-equal"}.get(row["configuration"])
        tried = [r for r in found if r["configuration"] == (name or row["configuration"])]
        if tried:
            best = min(tried, key=lambda r: float(r["validation"]))
            assert row["learning_rate"] == best["learning_rate"], row
    assert [row["configuration"] for row in table] == [
        "constant", *(*families, "pf-lstm-1") * 2, "gru-ensemble"
    ]  # fmt: skip
    script("maze.py", *given, "--only", *own)
    assert rows(out) == table

    script("maze_evidence.py", *given)
    one = {(r["configuration"], r["seed"]): float(r["test"]) for r in table}
    for row in rows(tmp_path / "maze-particles.csv"):
        if row["particles"] == "3":  # as in training, so as in the table
            assert float(row["last"]) == one[row["configuration"], row["seed"]]
    gaps = {(r["first"], r["second"]): float(r["gap"]) for r in rows(tmp_path / "maze-gaps.csv")}
    shares = [1 - one["pf-gru", s] / one["gru-equal", s] for s in ("0", "1")]
    assert gaps["pf-gru", "gru-equal"] == pytest.approx(100 * sum(shares) / 2, abs=0.06)
    densities = rows(tmp_path / "maze-densities.csv")
    trained = {(row["configuration"], row["seed"]) for row in table if row["best_epoch"]}
    assert {(row["configuration"], row["seed"]) for row in densities} == trained
    for row in rows(tmp_path / "maze-lineages.csv"):
        assert 1 <= float(row["lineages"]) <= 3
    for row in rows(tmp_path / "maze-beliefs.csv"):
        assert float(row["best_particle"]) <= float(row["one_particle"])
        assert 1 <= float(row["effective"]) <= 3

    script("maze_figures.py", "--tables", out, "--out", tmp_path / "maze.svg")
    assert "PF-GRU" in (tmp_path / "maze.svg").read_text(encoding="utf-8")
    capsys.readouterr()


def test_an_ensemble_of_classes_averages_probabilities(script, tmp_path, capsys):
    out = tmp_path / "measured.csv"
    script(
        "sequence_comparison.py", *SMALL, "--tasks", "japanese-vowels", "--seeds", 0, 1, "--out",
        out, "--only", "constant", "gru-equal", "gru-ensemble",
    )  # fmt: skip
    found = {(r["configuration"], r["seed"]): r for r in rows(out)}
    assert set(found) == {
        ("constant", ""), ("gru-equal", "0"), ("gru-equal", "1"), ("gru-ensemble", "0 1")
    }  # fmt: skip
    assert all(0 <= float(row["test"]) <= 1 for row in found.values())
    capsys.readouterr()


def test_two_sides(script, tmp_path, capsys):
    out = tmp_path / "two-sides.csv"
    given = ("--only", "pf-gru", "lstm-equal", "--walks", 64, "--epochs", 1, "--out", out)
    script("two_sides.py", *given)
    exact, belief, plain = rows(out)
    assert exact["network"] == "exact"
    assert float(exact["last_step"]) < 0.05**2  # less than the noise of one look
    assert float(belief["last_step"]) > float(exact["last_step"])
    assert belief["last_step_pooled"]
    assert (plain["last_step_pooled"], plain["both_sides"]) == ("", "0.000")
    capsys.readouterr()
    script("two_sides.py", *given)
    assert capsys.readouterr().out == ""  # rows that are there are not run again
    assert len(rows(out)) == 3
