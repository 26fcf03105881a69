"""The committed simulation on MNIST: what it must show, and that the pages say what it found."""

from __future__ import annotations

import csv
import json
import math
import re
from pathlib import Path

import pytest

THEORY = Path(__file__).parents[2] / "docs" / "theory"
DELTAS = (0.01, 0.05, 0.1)
SIZES = ("30 sizes, repaired", "30 sizes, not repaired")
SEEDS = "30 seeds, repaired"
RISKS = ("accuracy_drop", "disagreement")
BOUNDS = (
    "disagreement", "accuracy_drop", "outputs", "classes", "top-2 drop", "mean loss",
    "increase of the loss", "all seven together",
)  # fmt: skip
VALID = ("from the largest", "from a start", "other bound of the chosen")
NOT_VALID = ("bound without a stop", "estimate")


def rows(**wanted):
    """The rows of the table with these entries."""
    with (THEORY / "mnist-validity.csv").open(encoding="utf-8", newline="") as file:
        found = [
            row
            for row in csv.DictReader(file)
            if all(row[name] == value for name, value in wanted.items())
        ]
    assert found, wanted
    return found


def limit(row):
    """Delta and three standard errors."""
    delta = float(row["delta"])
    return delta + 3 * math.sqrt(delta * (1 - delta) / int(row["draws"]))


def worst(found, column="wrong"):
    return max(float(row[column]) for row in found)


def machine():
    return json.loads((THEORY / "mnist-validity.json").read_text(encoding="utf-8"))


def test_every_setting_is_there_with_enough_draws():
    assert min(int(row["draws"]) for row in rows()) >= 1000
    for delta in map(str, DELTAS):
        for name in (*SIZES, SEEDS):
            for risk in RISKS:
                for rule in VALID + NOT_VALID:
                    found = rows(candidates=name, quantity=risk, rule=rule, delta=delta)
                    assert len({row["level"] for row in found}) == (2 if name == SEEDS else 4)
        for bound in BOUNDS[:-1]:
            assert len(rows(part="certificate", quantity=bound, delta=delta)) == 3


@pytest.mark.parametrize("column", ["wrong", "wrong_without_replacement"])
def test_what_is_valid_is_wrong_as_rarely_as_it_says(column):
    for row in rows(valid="yes"):
        assert float(row[column]) <= limit(row), row


def test_bounds_and_walks_are_not_blunt():
    """At levels where a test errs most, it errs about as often as it may."""
    for delta in map(str, DELTAS):
        found = rows(part="walk", rule="from the largest", delta=delta)
        assert worst(found) > 0.5 * float(delta)
        found = rows(part="certificate", quantity="disagreement", delta=delta)
        assert worst(found) > 0.5 * float(delta)


def test_what_is_not_valid_is_seen():
    for row in rows(valid="no", quantity="observed disagreement"):
        assert float(row["wrong"]) > limit(row), row
    for delta in map(str, DELTAS):
        found = rows(valid="no", quantity="each class by itself", delta=delta)
        assert worst(found) > limit(found[0])
    for name in SIZES:
        for row in rows(candidates=name, rule="estimate"):
            assert float(row["wrong"]) > limit(row), row
    # no seed is good enough for the smaller of the two levels
    for risk, rules in (("accuracy_drop", ("estimate",)), ("disagreement", NOT_VALID)):
        for rule in rules:
            found = rows(candidates=SEEDS, quantity=risk, rule=rule)
            least = min(float(row["level"]) for row in found)
            lowest = [row for row in found if float(row["level"]) == least]
            assert len(lowest) == len(DELTAS)
            for row in lowest:
                assert float(row["wrong"]) > limit(row), row


def test_levels_lie_just_below_a_true_risk():
    candidates = machine()["candidates"]
    for row in rows(part="walk"):
        risks = candidates[row["candidates"]][row["quantity"]]
        own = risks[int(row["below"]) - 1]
        assert own == pytest.approx(float(row["level"]) + 0.00005, abs=1e-9)
        if row["candidates"] in SIZES:  # the first that is too bad
            assert max(risks[: int(row["below"]) - 1]) < float(row["level"])


def test_the_whole_product_found_what_the_simulation_found():
    found = machine()
    assert len(found["by_smallest"]) == 2
    for search in found["by_smallest"]:
        whole, simulated = search["smallest"], search["simulated"]
        assert whole.keys() == simulated.keys()
        for name, value in whole.items():
            assert value == pytest.approx(simulated[name]), name
    certified = found["by_certify"]
    assert len(certified["certified"]) == 14
    assert certified["certified"] == pytest.approx(certified["simulated"], rel=1e-6)


def line(page, *first):
    """The further cells of the line of a table that begins with these."""
    text = (THEORY / page).read_text(encoding="utf-8")
    begin = re.escape("".join(f"| {cell} " for cell in first))
    (cells,) = re.findall(rf"^{begin}\|(.*)\|$", text, flags=re.MULTILINE)
    return [cell.strip() for cell in cells.split("|")]


def percent(number):
    return f"{100 * number:.2f} %"


def test_table_of_walks_agrees():
    words = {"accuracy_drop": "drop", "disagreement": "disagreement"}
    for name in (*SIZES, SEEDS):
        for risk in RISKS:
            for delta in DELTAS:
                expected = [
                    percent(
                        worst(rows(candidates=name, quantity=risk, delta=str(delta), rule=rule))
                    )
                    for rule in VALID + NOT_VALID
                ]
                found = line("smallest.md", name, words[risk], f"{100 * delta:g} %")
                assert found == expected


def test_table_of_certificates_agrees():
    for bound in (*BOUNDS, "each class by itself", "observed disagreement"):
        spent = [7 * delta if bound == BOUNDS[-1] else delta for delta in DELTAS]
        expected = [
            percent(worst(rows(part="certificate", quantity=bound, delta=f"{delta:g}"), column))
            for delta in spent
            for column in ("wrong", "wrong_without_replacement")
        ]
        assert line("certificates.md", bound) == expected
