"""The tables of docs/guide/sequences.md say what the tasks and the committed results say."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from prunella.sequences import TASKS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guide" / "sequences.md").read_text(encoding="utf-8")
ANCHORS = {
    "middle of the map": "middle",
    "Bayes filter": "bayes",
    "its median": "bayes_median",
    "walks left open": "bayes_unresolved",
}


def test_every_task_is_in_the_table():
    rows = re.findall(r"^\| `([\w-]+)` \| (.*) \| (.*) \| (.*) \|$", PAGE, flags=re.MULTILINE)
    assert rows == [(name, t.line, t.kind, t.source) for name, t in TASKS.items()]


def test_anchors_agree_with_the_results():
    path = ROOT / "benchmarks" / "results" / "maze-anchors.csv"
    with path.open(encoding="utf-8", newline="") as file:
        results = list(csv.DictReader(file))
    shown = re.findall(r"^\| (\d+x\d+) \| ([^|]+) \| (.*) \|$", PAGE, flags=re.MULTILINE)
    assert len(shown) == 12
    for maze, anchor, cells in shown:
        own = [row[ANCHORS[anchor]] for row in results if row["maze"] == maze]
        assert cells.split(" | ") == own


def test_errors_without_a_network_agree_with_the_results():
    path = ROOT / "benchmarks" / "results" / "sequence-anchors.csv"
    with path.open(encoding="utf-8", newline="") as file:
        results = [(row["task"], row["constant"], row["linear"]) for row in csv.DictReader(file)]
    assert re.findall(r"^\| ([\w-]+) \| (\d\.\d+) \| (\d\.\d+) \|$", PAGE, re.MULTILINE) == results
