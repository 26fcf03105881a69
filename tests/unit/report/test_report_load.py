"""Reports as JSON: nothing is lost, and damage is named."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest

from prunella.core.errors import FileError
from prunella.report import from_json, render, to_json


@pytest.mark.parametrize("name", ["complete", "minimal", "walk"])
def test_round_trip(sample: ModuleType, name: str) -> None:
    report = getattr(sample, f"{name}_report")()
    text = to_json(report)
    assert json.loads(text)["schema_version"] == 1
    assert from_json(text) == report
    assert render(from_json(text)) == render(report)


def test_numbers_that_are_not_finite_survive_in_strict_json(sample: ModuleType) -> None:
    text = to_json(sample.sobering_report())

    def refuse(word: str) -> None:
        raise AssertionError(word)

    json.loads(text, parse_constant=refuse)
    losses = from_json(text).training["loss"]
    assert losses[0] == 0.5
    assert math.isnan(losses[1])
    assert losses[2] == math.inf
    infinite = replace(sample.complete_report().certificate, logit_error_bound=math.inf)
    report = replace(sample.complete_report(), certificate=infinite)
    assert from_json(to_json(report)) == report


def test_field_with_a_default_may_be_missing(sample: ModuleType) -> None:
    data = json.loads(to_json(sample.complete_report()))
    del data["reached"]
    assert from_json(json.dumps(data)).reached is None


def set_entry(data: dict[str, Any], path: list[Any], value: object) -> None:
    *way, last = path
    target: Any = data
    for step in way:
        target = target[step]
    if value is ...:
        del target[last]
    else:
        target[last] = value


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["schema_version"], 2, r"has schema version 2, this prunella reads 1; update prunella"),
        (["schema_version"], ..., "the report has no schema_version"),
        (["schema_version"], 1.0, r"schema_version 1\.0, expected a whole number from 1"),
        (["title"], ..., "report: the entry 'title' is missing"),
        (["title"], 3, r"report\.title: got a whole number, expected a text"),
        (["before", "params"], "many", r"report\.before\.params: got a text, expected a whole"),
        (["before", "params"], True, r"report\.before\.params: got true or false"),
        (["before", "params"], 1.5, r"report\.before\.params: got a number"),
        (["accuracy", "original"], "high", r"report\.accuracy\.original: got a text"),
        (["accuracy", "original"], False, r"report\.accuracy\.original: got true or false"),
        (["latency", 0, "before"], [1.0], r"latency\[0\]\.before: got 1 entries, expected 3"),
        (["layers", 1, "kept", 0], 1, r"report\.layers\[1\]\.kept\[0\]: got a whole number"),
        (["layers", 1, "scores"], [1.0], r"report\.layers\[1\]: 1 scores for 16 channels"),
        (["layers"], {}, r"report\.layers: got an object, expected a list"),
        (["training", "loss"], None, r"report\.training\.loss: got null, expected a list"),
        (["certificate"], [], r"report\.certificate: got a list, expected an object"),
        (["colour"], "red", r"report: unknown entry 'colour'\. Read the file with the version"),
    ],
)
def test_damage_is_named(sample: ModuleType, path: list[Any], value: object, message: str) -> None:
    data = json.loads(to_json(sample.complete_report()))
    set_entry(data, path, value)
    with pytest.raises(FileError, match=message):
        from_json(json.dumps(data))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the text is not JSON"),
        ("[1", "the text is not JSON"),
        ("[" * 100_000, "the text is not JSON"),
        ("9" * 10_000, "the text is not JSON"),
        ("[]", r"the report is \[\], expected an object"),
        ("null", "the report is None, expected an object"),
    ],
)
def test_other_texts_are_refused(text: str, message: str) -> None:
    with pytest.raises(FileError, match=message):
        from_json(text)


def test_truncated_file_is_refused(sample: ModuleType) -> None:
    text = to_json(sample.complete_report())
    with pytest.raises(FileError, match=r"not JSON.*repeating the run"):
        from_json(text[: len(text) // 2])
