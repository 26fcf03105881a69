"""Words and files of a certificate."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest

from prunella.core.certificates import Certificate
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


@pytest.mark.parametrize(
    "values",
    [
        {},
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
    assert data["schema_version"] == 1
    assert data["statement"] == certificate.statement
    assert Certificate.from_json(text) == certificate
    assert Certificate.from_json(json.dumps({**data, "added_later": [1]})) == certificate


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
        (2, r"has schema version 2, this prunella reads 1; update prunella\.$"),
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
    ],
)
def test_damaged_field(name: str, value) -> None:
    data = {**json.loads(CERTIFICATE.to_json()), name: value}
    with pytest.raises(FileError, match=f"certificate's {name} is .*damaged"):
        Certificate.from_json(json.dumps(data))


def test_missing_field() -> None:
    data = json.loads(CERTIFICATE.to_json())
    del data["small_digest"]
    with pytest.raises(FileError, match="has no 'small_digest'"):
        Certificate.from_json(json.dumps(data))
