"""The figures of the guide on the smallest network are those of the committed table."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "guide" / "how-small.md").read_text(encoding="utf-8")


def rows():
    path = ROOT / "benchmarks" / "results" / "smallest-full.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return {row["method"]: row for row in csv.DictReader(file)}


@pytest.mark.parametrize("method", ["pfp", "obs"])
def test_sizes_times_and_claims(method):
    row = rows()[method]
    text = " ".join(GUIDE.split())
    assert f"`{method}` ends at" in text or f"--method {method}` at" in text
    assert f"{100 * float(row['params_kept']):.1f} %" in text
    assert f"after {row['seconds']}" in text
    assert float(row["drop_on_others"]) <= float(row["tolerated"])
    assert f"{100 * float(row['drop_on_others']):.1f} and" in text or (
        f"and {100 * float(row['drop_on_others']):.1f} points" in text
    )
