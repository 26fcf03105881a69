"""The tables of docs/architectures.md say what the committed results say."""

from __future__ import annotations

import csv
import math
import re
import statistics
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "architectures.md").read_text(encoding="utf-8")


def rows(name):
    with (DOCS / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def cells(first):
    """The cells of the line of a table that begins with a word, without the word."""
    (line,) = re.findall(rf"^\| {re.escape(first)} \|(.*)\|$", PAGE, flags=re.MULTILINE)
    return [cell.strip() for cell in line.split("|")]


def test_table_agrees_with_the_results():
    results = rows("architectures.csv")
    assert len({(row["family"], row["model"]) for row in results}) == len(results)
    for family in ("torchvision", "timm", "detection"):
        own = [row for row in results if row["family"] == family]
        pruned = [row for row in own if row["status"] == "pruned"]
        whole = [row for row in own if row["status"].startswith("left whole")]
        broken = len(own) - len(pruned) - len(whole)
        worst = max(float(row["difference"]) for row in pruned)
        assert cells(family) == [
            *(str(len(found)) for found in (own, pruned, whole)),
            str(broken),
            f"{worst:.0e}",
        ]


def test_all_classifiers_of_torchvision_are_halved():
    own = [row for row in rows("architectures.csv") if row["family"] == "torchvision"]
    assert len(own) == 80
    assert all(row["status"] == "pruned" and float(row["params_kept"]) <= 0.5 for row in own)


def test_ratio_of_times_agrees_with_the_results():
    results = rows("against-torch-pruning.csv")
    ratios = [float(row["ratio"]) for row in results if row["ratio"]]
    mean = math.exp(statistics.fmean(math.log(ratio) for ratio in ratios))
    assert f"{len(ratios)} of {len(results)}" in PAGE
    assert f"geometric mean of the ratios {mean:.2f}" in PAGE
