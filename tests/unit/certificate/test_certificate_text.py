"""Words and files of a certificate."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest

from prunella.core.certificates import Certificate, content_digest
from prunella.core.certified import ClassBound, LayerBound, LossBound, TopKBound
from prunella.core.errors import FileError

CERTIFICATE = Certificate(
    alpha=0.05,
    delta=0.01,
    n=2000,
    disagreement=0.02,
    disagreement_upper=0.02849,
    accuracy_drop=0.005,
    accuracy_drop_upper=0.01201,
    logit_error_bound=0.1234567,
    samples_digest="0123456789abcdef",
    original_digest="a" * 32,
    small_digest="b" * 32,
    assumptions=("one", "two"),
)


CLASSES = (
    ClassBound(index=0, n=1500, disagreement=0.01, disagreement_upper=0.02),
    ClassBound(index=7, n=500, disagreement=0.05, disagreement_upper=0.08141),
)
TOP_K = TopKBound(
    k=5, accuracy_drop=0.001, accuracy_drop_upper=0.004, missed=None, missed_upper=None
)
MISSED = TopKBound(
    k=3, accuracy_drop=None, accuracy_drop_upper=None, missed=0.0, missed_upper=0.0023
)
LOSS = LossBound(name="cost", mean=0.123456, mean_upper=0.14001, increase=0.01, increase_upper=0.02)
LAYERS = (
    LayerBound(name="conv2", error_bound=0.25, samples_needed=90),
    LayerBound(name="fc", error_bound=0.5, samples_needed=90),
)


def changed(**values) -> Certificate:
    return dataclasses.replace(CERTIFICATE, **values)


def test_statement_in_full() -> None:
    assert CERTIFICATE.statement == (
        "Measured on 2,000 samples that were set aside for this. On new samples drawn like them, "
        "each of the following statements holds with confidence 99 %: the two networks name a "
        "different class for at most 2.85 % of samples (observed 2.00 %); the accuracy falls by "
        "at most 1.21 percentage points (observed a fall of 0.50); for at least 95 % of samples "
        "the outputs differ by at most 12.35 % of the length of the original's output. Samples "
        "that are not drawn like them are not covered."
    )


def test_statement_never_claims_more_than_the_bound() -> None:
    assert "at most 2.01 %" in changed(disagreement_upper=0.020001).statement
    assert "at most 3.00 %" in changed(disagreement_upper=0.03).statement
    assert "at most 0.01 % of the length" in changed(logit_error_bound=1e-9).statement
    assert "at most 0.00 % of the length" in changed(logit_error_bound=0.0).statement


def test_statement_of_the_other_cases() -> None:
    rise = changed(accuracy_drop=-0.02, accuracy_drop_upper=-0.00129).statement
    assert "rises by at least 0.12 percentage points (observed a rise of 2.00)" in rise
    assert "accuracy" not in changed(accuracy_drop=None, accuracy_drop_upper=None).statement
    assert "too few samples to bound" in changed(logit_error_bound=None).statement
    infinite = changed(logit_error_bound=math.inf).statement
    assert "no finite relative bound" in infinite
    assert "inf " not in infinite


def test_statement_of_the_parts_that_are_asked_for() -> None:
    words = changed(classes=CLASSES, top_k=TOP_K, losses=(LOSS,), layers=LAYERS).statement
    assert (
        "the top-5 accuracy falls by at most 0.40 percentage points (observed a fall of 0.10); of "
        "the samples to which the original gives a class, the small network gives another to at "
        "most 8.15 %, for each of the 2 classes that the original names (delta 0.005 for each); "
        "this is the bound of class 7, which is the largest (observed 5.00 % of 500 samples); the "
        "mean of the loss 'cost' of the small network is at most 0.1401 (observed 0.1235); it is "
        "at most 0.0200 above that of the original (observed +0.0100); the outputs of each of "
        "2 layers that read cut channels differ by at most 50.00 % of their length, for at least "
        "95 % of samples in each, and for all of these layers at once (delta 0.005 for each); this "
        "is the bound of fc, which is the largest; for at least 95 % of samples"
    ) in words
    missed = changed(top_k=MISSED).statement
    assert (
        "the original's class is not among the 3 best of the small network for at most 0.23 % of "
        "samples (observed 0.00 %);"
    ) in missed
    better = dataclasses.replace(LOSS, increase=-0.02, increase_upper=-0.00129)
    assert "it is at least 0.0012 below that of the original (observed -0.0200)" in (
        changed(losses=(better,)).statement
    )
    alone = changed(classes=CLASSES[:1]).statement
    assert "at most 2.00 %, for the one class that the original names; this is" in alone
    few = changed(layers=(LayerBound(name="a", error_bound=None, samples_needed=90),)).statement
    assert "bound how far the outputs of layers differ (at least 90 are needed);" in few
    far = changed(layers=(LayerBound(name="a", error_bound=math.inf, samples_needed=90),)).statement
    assert "95 % of samples the output of a differs by no finite share of its length;" in far


def test_what_is_not_covered_begins_with_a_shift_of_the_distribution() -> None:
    assert "drift over time" in CERTIFICATE.not_covered[0]
    assert "rare classes" in CERTIFICATE.not_covered[1]
    assert "groups of samples that are not listed" in changed(classes=CLASSES).not_covered[1]
    unlabelled = changed(accuracy_drop=None, accuracy_drop_upper=None).not_covered
    assert unlabelled[-1].startswith("Accuracy:")
    few = changed(logit_error_bound=None, samples_needed=90)
    assert few.not_covered[-1].endswith("too few for that bound (at least 90 are needed).")
    assert "how far the outputs differ (at least 90 are needed)." in few.statement
    assert "zero too often" in changed(logit_error_bound=math.inf).not_covered[-1]
    assert len(CERTIFICATE.not_covered) == 4


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"classes": CLASSES, "top_k": TOP_K, "losses": (LOSS, LOSS), "layers": LAYERS},
        {"top_k": MISSED, "samples_needed": 90, "used_samples": 12},
        {"layers": (LayerBound(name="a", error_bound=math.inf, samples_needed=90),)},
        {"accuracy_drop": None, "accuracy_drop_upper": None},
        {"logit_error_bound": None},
        {"logit_error_bound": math.inf},
        {"accuracy_drop": -1.0, "accuracy_drop_upper": -0.125, "assumptions": ()},
        {"disagreement": 0.1 + 0.2, "disagreement_upper": 1.0},
    ],
)
def test_json_and_back(values) -> None:
    certificate = changed(**values)
    text = certificate.to_json()
    data = json.loads(text, parse_constant=pytest.fail)
    assert data["schema_version"] == 2
    assert data["statement"] == certificate.statement
    assert data["not_covered"] == list(certificate.not_covered)
    assert Certificate.from_json(text) == certificate
    later = {**data, "added_later": [1]}
    later["digest"] = content_digest(later)
    assert Certificate.from_json(json.dumps(later, sort_keys=True)) == certificate


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("alpha", 0.050001),
        ("used_samples", 5),
        ("statement", "All is well."),
        ("not_covered", []),
        ("added_later", 1),
        ("digest", "0" * 32),
        ("digest", None),
    ],
)
def test_a_change_after_writing_is_noticed(name: str, value) -> None:
    data = {**json.loads(CERTIFICATE.to_json()), name: value}
    with pytest.raises(FileError, match=r"digest is .*something in it was changed after it was"):
        Certificate.from_json(json.dumps(data))


def test_digest_of_the_second_version_must_be_there() -> None:
    data = json.loads(CERTIFICATE.to_json())
    del data["digest"]
    with pytest.raises(FileError, match="digest is None, but its content has"):
        Certificate.from_json(json.dumps(data))


def test_first_version_has_no_digest_and_gives_the_number_of_used_samples_in_words() -> None:
    data = json.loads(CERTIFICATE.to_json())
    for name in ("digest", "classes", "top_k", "losses", "layers", "samples_needed"):
        del data[name]
    checked = "(none of the 1,234 samples recorded as used was among them)"
    data |= {"schema_version": 1, "assumptions": ["one", checked]}
    found = Certificate.from_json(json.dumps(data))
    assert found == changed(assumptions=("one", checked), used_samples=1234)
    # one that is there all the same must fit
    with pytest.raises(FileError, match="digest is 'x'"):
        Certificate.from_json(json.dumps({**data, "digest": "x"}))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "not JSON"),
        (CERTIFICATE.to_json()[:-30], "not JSON"),
        ("[1, 2]", r"is \[1, 2\], expected an object"),
        ("{}", "no schema_version"),
    ],
)
def test_damaged_text(text: str, match: str) -> None:
    with pytest.raises(FileError, match=match):
        Certificate.from_json(text)


@pytest.mark.parametrize(
    ("version", "match"),
    [
        (3, r"has schema version 3, this prunella reads 2 and older ones; update prunella\.$"),
        (0, "has schema_version 0, expected a whole number from 1; .*damaged"),
        ("1", "has schema_version '1', expected a whole number"),
        (None, "has schema_version None, expected a whole number"),
        (True, "has schema_version True, expected a whole number"),
    ],
)
def test_unknown_schema_version(version, match) -> None:
    data = {**json.loads(CERTIFICATE.to_json()), "schema_version": version}
    with pytest.raises(FileError, match=match):
        Certificate.from_json(json.dumps(data))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("alpha", 1),
        ("delta", "0.01"),
        ("n", 0),
        ("n", 2.5),
        ("n", True),
        ("n", 2**63),
        ("disagreement", -0.1),
        ("disagreement_upper", None),
        ("disagreement_upper", math.nan),
        ("accuracy_drop", 2),
        ("accuracy_drop_upper", 10**39),
        ("logit_error_bound", -1),
        ("logit_error_bound", "large"),
        ("samples_digest", ""),
        ("small_digest", 5),
        ("logit_error_bound", math.nan),
        ("assumptions", "one"),
        ("assumptions", [1]),
        ("samples_needed", 0),
        ("used_samples", -1),
        ("classes", [{"index": 0}]),
        ("classes", [{"index": 0, "n": 5, "disagreement": 0.5, "disagreement_upper": 0.4}]),
        ("classes", 5),
        ("top_k", {"k": 5, "accuracy_drop": 0.1, "accuracy_drop_upper": None,
                   "missed": None, "missed_upper": None}),
        ("top_k", {"k": 5, "accuracy_drop": 0.1, "accuracy_drop_upper": 0.2,
                   "missed": 0.1, "missed_upper": 0.2}),
        ("top_k", {"k": 0, "accuracy_drop": None, "accuracy_drop_upper": None,
                   "missed": 0.1, "missed_upper": 0.2}),
        ("top_k", []),
        ("losses", [{"name": "", "mean": 0, "mean_upper": 0, "increase": 0, "increase_upper": 0}]),
        ("losses", [{"name": "a", "mean": 0, "mean_upper": 2, "increase": 0, "increase_upper": 0}]),
        ("losses", [None]),
        ("layers", [{"name": "a", "error_bound": -1, "samples_needed": 90}]),
        ("layers", ["a"]),
    ],
)  # fmt: skip
def test_damaged_field(name: str, value) -> None:
    data = {**json.loads(CERTIFICATE.to_json()), name: value}
    with pytest.raises(FileError, match=f"certificate's {name} is .*damaged"):
        Certificate.from_json(json.dumps(data))


def test_missing_field() -> None:
    data = json.loads(CERTIFICATE.to_json())
    del data["small_digest"]
    with pytest.raises(FileError, match="has no 'small_digest'"):
        Certificate.from_json(json.dumps(data))
