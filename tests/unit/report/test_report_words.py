"""Numbers and sentences."""

from __future__ import annotations

import math
from dataclasses import replace
from types import ModuleType

import pytest

from prunella.core.certified import ClassBound, LayerBound, LossBound, TopKBound
from prunella.core.results import Accuracies, LayerReport
from prunella.report import from_json, to_json, units, words
from prunella.report.bins import binned
from prunella.report.figures import interval
from prunella.report.plots import plain, shortened


def text(value: str) -> str:
    return value.replace(units.SPACE, " ")


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0, "0"), (272_186, "272,186"), (999_999, "999,999"), (1_000_000, "1.00 M"),
     (40_551_040, "40.6 M"), (999_600_000, "1.00 G"), (4_111_512_000, "4.11 G")],
)  # fmt: skip
def test_count(number: int, expected: str) -> None:
    assert text(units.count(number)) == expected


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0, "0 bytes"), (999, "999 bytes"), (1_000, "1.00 kB"), (1_095_720, "1.10 MB"),
     (97_800_000_000, "97.8 GB")],
)  # fmt: skip
def test_size(number: int, expected: str) -> None:
    assert text(units.size(number)) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.0016, "1.60 ms"), (0.00161, "1.61 ms"), (0.0999, "99.9 ms"), (0.9996, "1.00 s"),
     (2e-5, "20.0 µs"), (123.4, "123 s"), (0.0, "0.00 s"), (math.inf, "not finite s")],
)  # fmt: skip
def test_seconds(value: float, expected: str) -> None:
    assert text(units.seconds(value)) == expected


@pytest.mark.parametrize(
    ("fraction", "expected"),
    [(0, "0 %"), (1, "100 %"), (0.448, "44.8 %"), (0.0001, "<0.1 %"), (0.9999, ">99.9 %"),
     (1.04, "104.0 %"), (math.nan, "not finite")],
)  # fmt: skip
def test_share_never_rounds_to_nothing_or_all(fraction: float, expected: str) -> None:
    assert text(units.share(fraction)) == expected


@pytest.mark.parametrize(
    ("bound", "expected"),
    [(0.03, "3.00"), (0.011701, "1.18"), (0.0117, "1.17"), (-0.00215, "−0.21"), (0.0, "0.00")],
)
def test_bounds_are_rounded_up(bound: float, expected: str) -> None:
    assert units.percent_up(bound) == expected


def test_gain_of_accuracy_is_worded_as_one(sample: ModuleType) -> None:
    certificate = replace(
        sample.complete_report().certificate, accuracy_drop=-0.01, accuracy_drop_upper=-0.00215
    )
    assert "No accuracy: it rises by at least 0.21 percentage points" in words.answer(certificate)
    assert text(words.claims(certificate)[0].observed) == "a rise of 1.00 points"


def test_claims_agree_with_the_statement(sample: ModuleType) -> None:
    certificate = replace(
        sample.complete_report().certificate, accuracy_drop_upper=0.01231, disagreement_upper=0.0412
    )
    for claim in words.claims(certificate):
        assert text(claim.bound).split()[0] in certificate.statement


def test_infinite_bound_is_left_out(sample: ModuleType) -> None:
    certificate = replace(sample.complete_report().certificate, logit_error_bound=math.inf)
    assert len(words.claims(certificate)) == 2
    assert any("zero too often" in gap for gap in words.not_covered(certificate))


def test_claims_of_the_parts_that_are_asked_for(sample: ModuleType) -> None:
    certificate = replace(
        sample.complete_report().certificate,
        classes=(
            ClassBound(index=0, n=90, disagreement=0.01, disagreement_upper=0.0212),
            ClassBound(index=3, n=9, disagreement=0.02, disagreement_upper=0.3456),
        ),
        top_k=TopKBound(
            k=5, accuracy_drop=0.01, accuracy_drop_upper=0.0234, missed=None, missed_upper=None
        ),
        losses=(
            LossBound(
                name="cost", mean=0.1, mean_upper=0.1357, increase=-0.01, increase_upper=0.0246
            ),
        ),
        layers=(
            LayerBound(name="fc", error_bound=0.7531, samples_needed=90),
            LayerBound(name="conv2", error_bound=0.1, samples_needed=90),
        ),
    )
    found = {claim.label: claim for claim in words.claims(certificate)}
    shown = {label: text(claim.bound) for label, claim in found.items()}
    assert shown["Loss of top-5 accuracy"] == "2.34 points"
    assert shown["Another answer, by class"] == "34.56 %"
    assert "whichever of the 2 listed classes it is; class 3 has" in (
        found["Another answer, by class"].meaning
    )
    assert shown["Mean of cost"] == "13.57 %"
    assert shown["Increase of cost"] == "2.46 points"
    assert text(found["Increase of cost"].observed) == "a fall of 1.00 points"
    assert shown["Change inside"] == "75.31 %"
    assert "fc has the largest bound" in found["Change inside"].meaning
    missed = TopKBound(
        k=3, accuracy_drop=None, accuracy_drop_upper=None, missed=0.01, missed_upper=0.0468
    )
    found = {claim.label: claim for claim in words.claims(replace(certificate, top_k=missed))}
    assert text(found["Not among the best 3"].bound) == "4.68 %"
    few = replace(certificate, layers=(LayerBound(name="fc", error_bound=None, samples_needed=90),))
    assert "Change inside" not in {claim.label for claim in words.claims(few)}
    report = replace(sample.complete_report(), certificate=certificate)
    assert from_json(to_json(report)) == report


def test_equal_speed_is_no_change(sample: ModuleType) -> None:
    report = sample.complete_report()
    same = replace(report, latency=(replace(report.latency[0], speedup=1.01),))
    assert "runs about as fast as before" in text(words.headline(same))
    assert words.setbacks(same) == ()


@pytest.mark.parametrize(
    ("after", "expected"), [(0.9, "keeps its accuracy"), (0.92, "gains 2.0 points of accuracy")]
)
def test_accuracy_kept_or_gained(sample: ModuleType, after: float, expected: str) -> None:
    report = replace(
        sample.minimal_report(), accuracy=Accuracies(original=0.9, after_cut=after, samples=100)
    )
    assert expected in text(words.headline(report))


@pytest.mark.parametrize(
    ("created", "expected"),
    [("2026-05-12T14:03:27+00:00", "2026-05-12 14:03 UTC"), ("2026-05-12", "2026-05-12 00:00"),
     ("2026-05-12T14:03:27Z", "2026-05-12 14:03 UTC"), ("yesterday", "yesterday")],
)  # fmt: skip
def test_when(created: str, expected: str) -> None:
    assert words.when(created) == expected


def test_interval_matches_known_value_and_ends() -> None:
    # 90 of 100: Wilson interval without continuity correction.
    assert interval(0.9, 100) == pytest.approx((0.82563, 0.94477), abs=1e-5)
    assert interval(1.0, 50)[1] == pytest.approx(1.0)
    assert interval(0.0, 50)[0] == pytest.approx(0.0)


def test_names_are_shortened_in_the_middle_and_escaped() -> None:
    assert shortened("layer1.0.conv1", 20) == "layer1.0.conv1"
    short = shortened("features.denseblock3.denselayer12.conv1", 18)
    assert len(short) == 18
    assert short.endswith("er12.conv1")
    assert plain("<b>&") == "&lt;b&gt;&amp;"


def test_binned_sorts_averages_and_keeps_ties_together() -> None:
    layer = LayerReport(
        name="a", kept=(False, True, True, False), scores=(0.5, 0.5, 1.0, 0.0), reason=""
    )
    row = binned(layer, 10)
    assert row.means == (1.0, 0.5, 0.5, 0.0)
    assert row.kept == (1.0, 1.0, 0.0, 0.0)
    assert row.edges == (0.0, 25.0, 50.0, 75.0, 100.0)
    halves = binned(layer, 2)
    assert halves.means == (0.75, 0.25)
    assert halves.kept == (1.0, 0.0)
    assert halves.heights == (0.75, 0.25)


def test_binned_survives_flat_negative_and_odd_scores() -> None:
    zeros = LayerReport(name="a", kept=(True,), scores=(0.0,), reason="")
    assert binned(zeros, 5).heights == (0.0,)
    odd = LayerReport(name="a", kept=(True,) * 3, scores=(math.nan, -1.0, 1.0), reason="")
    assert binned(odd, 5).heights == (1.0, 0.5, 0.0)
