"""Decision 14 says what the committed comparison with the published tracker found."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "decisions" / "0014-sensitivity-search.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("**Beside the published code.**")[2].partition("**Costs.**")[0]
FEW, MANY = ("prunella", "8"), ("prunella", "64")
ENTRY_FEW, ENTRY_MANY = ("prunella, entry", "8"), ("prunella, entry", "64")
PUBLISHED = ("torchprune", "8")


def layers():
    """Rows of the table by layer, and by side and samples."""
    path = ROOT / "benchmarks" / "results" / "sensitivity-public.csv"
    found = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["layer"], {})[row["by"], row["samples"]] = row
    assert len(found) == 6
    return found


@pytest.mark.parametrize("layer", layers())
def test_ratios_of_a_layer(layer):
    (line,) = re.findall(rf"^\| {layer.removeprefix('conv ')} \| (.*) \|$", SECTION, re.MULTILINE)
    sides = layers()[layer]
    cells = line.split(" | ")
    for cell, side in zip(cells, (FEW, MANY, ENTRY_FEW, ENTRY_MANY, PUBLISHED), strict=True):
        digits = len(cell.partition(".")[2])
        assert cell == f"{float(sides[side]['ratio']):.{digits}f}"


def test_times_of_both_sides():
    text = " ".join(SECTION.split())

    def span(side):
        times = [
            float(sides[PUBLISHED]["pass_ms"]) / float(sides[side]["pass_ms"])
            for sides in layers().values()
        ]
        return f"{min(times):.0f} to {max(times):.0f} times"

    assert f"takes {span(FEW)} as long as prunella with 8 samples and {span(MANY)}" in text
    both = f"{span(ENTRY_FEW)} as long as that with 8 samples, {span(ENTRY_MANY)} with 64"
    assert both in text
    growth = max(float(s[FEW]["ratio"]) / float(s[MANY]["ratio"]) for s in layers().values())
    assert f"up to {growth:.1f} times that with 64" in text


def test_scores_agree():
    (stated,) = re.findall(r"to a relative (\S+) in these six layers", SECTION)
    worst = max(float(sides[PUBLISHED]["difference"]) for sides in layers().values())
    assert worst <= float(stated) <= 1e-4
