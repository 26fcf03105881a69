"""The page: complete, well formed, escaped, and the same each time."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from types import ModuleType
from typing import Any

import plotly.graph_objects as go
import pytest

from prunella.core.results import Accuracies
from prunella.core.types import Cost
from prunella.report import render

NAMES = ["complete", "minimal", "sobering", "large", "hostile", "walk"]
VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """Checks that tags are balanced; collects texts, ids, headings and scripts."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.ids: list[str] = []
        self.texts: list[str] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        entries = dict(attrs)
        assert len(entries) == len(attrs), f"<{tag}> repeats an attribute"
        self.tags.append((tag, entries))
        if entries.get("id") is not None:
            self.ids.append(str(entries["id"]))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append((entries, ""))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            entries, text = self.scripts[-1]
            self.scripts[-1] = entries, text + data
        elif self.open and self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        """All visible text with single plain spaces."""
        return " ".join(" ".join(self.texts).split())

    @property
    def figures(self) -> dict[str, Any]:
        found = [text for entries, text in self.scripts if entries.get("id") == "figure-data"]
        return json.loads(found[0]) if found else {}


@pytest.fixture(scope="module")
def pages(sample: ModuleType) -> dict[str, tuple[str, Page]]:
    texts = {name: render(getattr(sample, f"{name}_report")()) for name in NAMES}
    return {name: (text, Page(text)) for name, text in texts.items()}


@pytest.mark.parametrize("name", NAMES)
def test_page_is_well_formed(pages: dict[str, tuple[str, Page]], name: str) -> None:
    text, page = pages[name]
    assert text.startswith("<!DOCTYPE html>")
    assert ("html", {"lang": "en"}) in page.tags
    assert [key for key, number in Counter(page.ids).items() if number > 1] == []
    for _, entries in page.tags:
        for key in ("aria-labelledby", "for"):
            if entries.get(key):
                assert entries[key] in page.ids


@pytest.mark.parametrize("name", NAMES)
def test_headings_go_down_one_level_at_a_time(
    pages: dict[str, tuple[str, Page]], name: str
) -> None:
    levels = [int(tag[1]) for tag, _ in pages[name][1].tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(new <= old + 1 for old, new in pairwise(levels))


@pytest.mark.parametrize("name", NAMES)
def test_tables_and_figures_are_accessible(pages: dict[str, tuple[str, Page]], name: str) -> None:
    _, page = pages[name]
    plots = [entries for tag, entries in page.tags if entries.get("class") == "chart"]
    assert {entries["id"] for entries in plots} == set(page.figures)
    assert all(entries["role"] == "img" and entries["aria-label"] for entries in plots)
    assert all(entries.get("scope") for tag, entries in page.tags if tag == "th")


@pytest.mark.parametrize("name", NAMES)
def test_page_is_self_contained_and_small(pages: dict[str, tuple[str, Page]], name: str) -> None:
    text, page = pages[name]
    assert len(text.encode()) < 6_000_000
    for tag, entries in page.tags:
        assert not ({"src", "srcset", "action"} & set(entries)), tag
        assert entries.get("href", "data:,") == "data:,"
    policies = [e["content"] for t, e in page.tags if t == "meta" and "http-equiv" in e]
    assert len(policies) == 1
    assert str(policies[0]).startswith("default-src 'none'; ")
    assert "http" not in str(policies[0])


def test_plotly_is_there_once_or_not_at_all(pages: dict[str, tuple[str, Page]]) -> None:
    assert pages["complete"][0].count("* plotly.js v") == 1
    assert len(pages["minimal"][0]) < 30_000


@pytest.mark.parametrize("name", NAMES)
def test_same_report_gives_same_page(
    sample: ModuleType, pages: dict[str, tuple[str, Page]], name: str
) -> None:
    assert render(getattr(sample, f"{name}_report")()) == pages[name][0]


@pytest.mark.parametrize(
    "expected",
    [
        "resnet20 on fashion-mnist",
        "keeps 44.8 % of its parameters and 47.1 % of its multiply-adds",
        "runs 1.62 times as fast at batch 64 on this machine",
        "loses 0.4 points of accuracy (91.6 % → 91.2 %, measured on 2,000 samples)",
        "at most 45 % of the parameters",
        "✓ budget met",
        "272,186",
        "121,874",
        "40.6 M",
        "19.1 M",
        "40,551,040",
        "1.10 MB",
        "493 kB",
        "45.0 %",
        "At most 1.17 percentage points of accuracy, with 99 % confidence.",
        "4.94 %",
        "21.84 %",
        "Observed: 4.13 %",
        "4,000",
        "All 3 hold at once with at least 97 % confidence.",
        "The certification samples were drawn independently",
        "What it does not cover",
        "sha256:07d3e8f1b6a24c99e5d1730c4bfa6e8192cd",
        "1.61 ms",
        "1.58 ms – 1.69 ms",
        "24.3 ms",
        "1.51×",
        "layer3.2.conv1",
        "the outputs of the network are read from outside",
        "2.13.0+cpu",
        "learning_rate: 0.05",
        "certificate.json",
        "Batch norm statistics were estimated again",
        "prunella prune prunella.networks:resnet20",
        "2026-05-12 14:03 UTC",
    ],
)
def test_complete_page_says(pages: dict[str, tuple[str, Page]], expected: str) -> None:
    assert expected in pages["complete"][1].text


def test_complete_page_holds_the_statement_and_all_numbers_of_the_layers(
    sample: ModuleType, pages: dict[str, tuple[str, Page]]
) -> None:
    report = sample.complete_report()
    text = pages["complete"][1].text
    assert report.certificate.statement in text
    for layer in report.layers:
        size, kept = len(layer.kept), sum(layer.kept)
        assert f"{layer.name} {size} {kept} {size - kept} " in text


def test_sections_come_in_order(pages: dict[str, tuple[str, Page]]) -> None:
    names = [
        "asked", "certificate", "accuracy", "layers", "scores", "latency", "training", "cost",
        "environment", "config", "files", "notes", "again",
    ]  # fmt: skip
    assert [key for key in pages["complete"][1].ids if key in names] == names


def test_figures_hold_the_numbers(sample: ModuleType, pages: dict[str, tuple[str, Page]]) -> None:
    report = sample.complete_report()
    figures = pages["complete"][1].figures
    assert list(figures) == [
        "figure-accuracy", "figure-layers-0", "figure-scores-0", "figure-latency",
        "figure-training",
    ]  # fmt: skip
    assert figures["figure-accuracy"]["data"][0]["y"] == [91.65, 74.35, 88.4, 91.25]
    kept, removed, frozen, _ = figures["figure-layers-0"]["data"]
    open_layers = [not layer.reason for layer in report.layers]
    assert kept["x"] == [
        sum(layer.kept) * is_open for layer, is_open in zip(report.layers, open_layers, strict=True)
    ]
    sizes = [len(layer.kept) for layer in report.layers]
    assert [sum(x) for x in zip(kept["x"], removed["x"], frozen["x"], strict=True)] == sizes
    assert frozen["x"] == [1, *[0] * 12, 10]


@pytest.mark.parametrize("name", NAMES)
def test_plotly_accepts_the_figures(pages: dict[str, tuple[str, Page]], name: str) -> None:
    for spec in pages[name][1].figures.values():
        figure = go.Figure(data=spec["data"], layout=spec["layout"])
        dotted = {key.replace(".", "_"): value for key, value in spec["narrow"].items()}
        figure.update_layout(**dotted)


def test_large_network_is_split_and_averaged(pages: dict[str, tuple[str, Page]]) -> None:
    figures = pages["large"][1].figures
    rows = [len(spec["data"][0]["y"]) for key, spec in figures.items() if "layers" in key]
    assert rows == [40] * 5
    steps = sum(len(spec["data"][2]["x"]) for key, spec in figures.items() if "scores" in key)
    assert steps <= 200 * 24


def test_minimal_page_says_what_to_do(pages: dict[str, tuple[str, Page]]) -> None:
    text, page = pages["minimal"]
    assert "This run has no certificate" in page.text
    assert "No accuracy was measured." in page.text
    assert "No latency was measured" in page.text
    assert "None" not in page.text
    assert "nan" not in page.text
    assert page.figures == {}
    for absent in ("budget met", "budget missed", "Retraining</h2>", 'id="copy"'):
        assert absent not in text


def test_setbacks_are_said_plainly(pages: dict[str, tuple[str, Page]]) -> None:
    text = pages["sobering"][1].text
    assert "runs slower at batch 64 on this machine (it needs 1.11 times the time)" in text
    assert (
        "The budget was missed. Asked for: at most 45 % of the parameters. "
        "Reached: 58.86 % of the parameters" in text
    )
    assert "✗ budget missed" in text
    assert "At batch 64 the network is slower than the original" in text
    assert "Retraining made the accuracy worse, by 1.0 points." in text
    assert "At most 4.94 % of new samples get another class than before" in text
    assert "Accuracy: the certification samples had no labels." in text
    assert "What did not come out as hoped" not in pages["complete"][1].text


def test_growth_is_a_setback(sample: ModuleType) -> None:
    report = replace(sample.minimal_report(), before=Cost(params=100, macs=100, bytes=100))
    text = Page(render(replace(report, after=Cost(params=104, macs=90, bytes=100)))).text
    assert "now has 104.0 % of its parameters" in text
    assert "has more parameters than before: 104.0 % of the original" in text


def test_texts_are_escaped_everywhere(pages: dict[str, tuple[str, Page]]) -> None:
    text, page = pages["hostile"]
    assert "<script>alert" not in text
    assert "<!--" not in text
    assert len(page.scripts) == 3
    assert not [tag for tag, _ in page.tags if tag == "b"]
    assert page.text.count("</script><script>alert(1)</script>") > 10
    data = next(text for entries, text in page.scripts if "id" in entries)
    assert not set("<>&\u2028\u2029") & set(data)
    # Plotly reads markup in its texts as well.
    for spec in page.figures.values():
        assert "<script" not in json.dumps(spec)


def test_lone_surrogate_can_be_written(pages: dict[str, tuple[str, Page]]) -> None:
    assert pages["hostile"][0].encode("utf-8")


def test_one_stage_without_samples(sample: ModuleType) -> None:
    report = replace(sample.minimal_report(), accuracy=Accuracies(after_cut=1.0))
    page = Page(render(report))
    assert "names the right class for 100 % of samples" in page.text
    assert page.figures["figure-accuracy"]["data"][0]["error_y"]["visible"] is False
