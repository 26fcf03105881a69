"""The tables of docs/theory/double-descent.md say what the results and the theory say."""

from __future__ import annotations

import csv
import re
import statistics
from pathlib import Path

import pytest

from prunella.theory import FAMILIES, RISKS, family, predict_sizes
from prunella.theory.studies import sparsity_study

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "theory" / "double-descent.md").read_text(encoding="utf-8")
SIZES = [k for k in range(60, 1001, 5) if k != 200]


@pytest.fixture(scope="module")
def results():
    path = ROOT / "benchmarks" / "results" / "double-descent.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def own(results, name, s):
    return [row for row in results if row["family"] == name and row["s"] == s]


def test_comparisons_agree_with_the_results(results):
    shown = re.findall(
        r"^\| ([\w .]+) \| (\d+) \| (\d+) \| (\d+) \| ([\d.]+) % \| ([\d.]+) % \|$", PAGE, re.M
    )
    assert len(shown) == 12
    for name, s, count, apart, largest, median in shown:
        rows = own(results, name, s)
        shares = [100 * abs(float(row["relative_difference"])) for row in rows]
        assert int(count) == len(rows)
        assert int(apart) == sum(row["passed"] == "no" for row in rows)
        assert float(largest) == pytest.approx(max(shares), abs=0.051)
        assert float(median) == pytest.approx(statistics.median(shares), abs=0.051)
    assert sum(int(row[2]) for row in shown) == len(results) == 336
    assert "All 336 pairs" in PAGE
    diagonal = [row for row in results if row["family"] in FAMILIES]
    assert "All 252 pairs of the four families pass" in PAGE
    assert len(diagonal) == 252
    assert {row["passed"] for row in diagonal} == {"yes"}
    assert {row["estimator"] for row in diagonal} == set(RISKS)


def test_the_verdicts_of_the_results_follow_from_their_numbers(results):
    for row in results:
        apart = float(row["predicted"]) - float(row["simulated"])
        passed = abs(apart) <= 4 * float(row["standard_error"]) + 1e-4
        passed |= abs(apart / float(row["simulated"])) <= 0.03 + 1e-4
        assert row["passed"] == ("yes" if passed else "no"), row


def test_the_results_hold_the_predictions_of_today(results):
    for name in FAMILIES:
        spectrum = family(name)
        for s in (50, 400):
            rows = own(results, name, str(s))
            sizes = sorted({int(row["p"]) for row in rows})
            curves = predict_sizes(spectrum.eigenvalues, spectrum.coefficients, 0.3, 200, sizes, s)
            found = dict(zip(sizes, curves, strict=True))
            for row in rows:
                value = getattr(found[int(row["p"])], row["estimator"])
                assert float(row["predicted"]) == pytest.approx(value, abs=1e-5)


def first(curves, wins):
    return next((str(k) for k, one in curves.items() if k > 200 and wins(one)), "never")


@pytest.fixture(scope="module")
def curves():
    found = {}
    for name in FAMILIES:
        spectrum = family(name)
        risks = predict_sizes(spectrum.eigenvalues, spectrum.coefficients, 0.3, 200, SIZES, 50)
        found[name] = dict(zip(SIZES, risks, strict=True))
    return found


def test_where_large_wins(curves):
    row = r"^\| (\w+) \| (0\.\d{3}) \| (\w+) \| (\w+) \| (\d\.\d{3}) \| (\d\.\d{3}) \|$"
    shown = re.findall(row, PAGE, re.M)
    assert [name for name, *_ in shown] == list(FAMILIES)
    for name, small, oracle, hessian, below, beyond in shown:
        own = curves[name]
        known = own[60].oracle_retrained
        assert small == f"{known:.3f}"
        assert oracle == first(own, lambda one, known=known: one.oracle < known)
        assert hessian == first(own, lambda one, known=known: one.hessian < known)
        assert below == f"{min(one.hessian for k, one in own.items() if k < 200):.3f}"
        assert beyond == f"{min(one.hessian for k, one in own.items() if k > 200):.3f}"
        assert first(own, lambda one, known=known: one.magnitude < known) == "never"


def test_where_retraining_hurts(curves):
    sentence = " ".join(PAGE[PAGE.index("Further out it hurts") :].split())[:200]
    sizes = dict(
        zip(("spiked", "power", "adverse"), re.findall(r"from (\d+)", sentence), strict=True)
    )
    for name, own in curves.items():
        hurts = first(own, lambda one: one.hessian_retrained > one.hessian)
        assert hurts == sizes.get(name, "never")
        assert own[205].hessian_retrained < own[205].hessian


def test_how_many_must_be_kept():
    bands = {panel.title.split(",")[0]: panel.bands for panel in sparsity_study().panels}
    assert bands["spiked"] == bands["power"] == ((0.01, 0.995),)
    for name, words in (("isotropic", "at least {:.2f}"), ("adverse", "the adverse one {:.2f}")):
        ((start, end),) = bands[name]
        assert end == 0.995
        assert words.format(start) in " ".join(PAGE.split())


def test_retraining_of_correlated_features_agrees_with_the_results(results):
    row = r"^\| ([\w .]+) \| Hessian(, retrained)? \| (\d\.\d{3}) \| (\d\.\d{3}) \|$"
    shown = re.findall(row, PAGE, re.M)
    assert len(shown) == 6
    known = {(r["family"], r["p"], r["estimator"]): r for r in results}
    for name, retrained, predicted, simulated in shown:
        found = known[name, "600", "hessian_retrained" if retrained else "hessian"]
        assert predicted == f"{float(found['predicted']):.3f}"
        assert simulated == f"{float(found['simulated']):.3f}"


@pytest.mark.parametrize(
    "name", re.findall(r"\]\(\.\./assets/(double-descent-[\w-]+\.svg)\)", PAGE)
)
def test_figures_are_small_and_there(name):
    text = (ROOT / "docs" / "assets" / name).read_text(encoding="utf-8")
    assert text.startswith("<svg ")
    assert len(text) < 300_000
