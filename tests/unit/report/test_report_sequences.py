"""The page on a training with sequences: frames of the belief, the map, and hostile text."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import pytest

from prunella.report import render_sequences
from prunella.report.beliefs import belief_figure


@pytest.fixture
def walk(sample):
    return sample.belief_walk()


@pytest.fixture
def report(sample):
    return sample.sequence_report


def figures(page):
    return json.loads(re.search(r'id="figure-data">(.*?)</script>', page, re.DOTALL)[1])


def test_each_frame_holds_what_was_believed_then(walk):
    spec = belief_figure(walk, ((0, 2, 2), (0, 0, 1)), key="a").spec
    assert len(spec["frames"]) == 3
    for step, frame in enumerate(spec["frames"]):
        _, trail, particles, mean, truth, marker = frame
        assert particles["x"] == pytest.approx([0.0, 0.1, 0.2, 0.3])
        assert particles["y"] == pytest.approx([0.2 * step] * 4)
        assert (mean["x"], truth["x"]) == (
            [pytest.approx(0.6 + 0.1 * step)], [pytest.approx(0.5 + 0.1 * step)],
        )  # fmt: skip
        assert truth["marker"]["angle"] == 90.0
        assert len(trail["x"]) == step + 1
        assert (marker["x"], marker["y"]) == ([step + 1], [1.5 + step])
        assert len(frame) == len(spec["data"])
    assert spec["data"][2]["x"] == spec["frames"][0][2]["x"]  # the first is shown without scripts
    assert spec["data"][0]["y"] == [1.5, 2.5, 3.5]


def test_heavier_particles_are_larger_and_darker(walk):
    marker = belief_figure(walk, ((0, 2, 2), (0, 0, 1)), key="a").spec["frames"][0][2]["marker"]
    assert marker["size"] == sorted(marker["size"])
    assert marker["opacity"] == sorted(marker["opacity"])
    assert marker["size"][0] < marker["size"][-1]
    # Area goes with weight: 1 and 7 sixteenths of 4 particles.
    assert marker["size"][-1] / marker["size"][0] == pytest.approx(math.sqrt(7), rel=0.02)


def test_the_map_stands_the_right_way_up(walk):
    """The first row is at the top; two beacons side by side are one rectangle."""
    border, beacons, wall = belief_figure(walk, ((0, 2, 2), (0, 0, 1)), key="a").spec["layout"][
        "shapes"
    ]
    assert [border[k] for k in ("x0", "y0", "x1", "y1")] == [0, 0, 3, 2]
    assert [beacons[k] for k in ("x0", "y0", "x1", "y1")] == [1, 1, 3, 2]
    assert [wall[k] for k in ("x0", "y0", "x1", "y1")] == [2, 0, 3, 1]
    assert beacons["fillcolor"] != wall["fillcolor"]


def test_the_page_has_everything_and_is_the_same_again(report):
    page = render_sequences(report())
    assert page == render_sequences(report())
    assert list(figures(page)) == ["figure-belief-1", "figure-training"]
    for part in (
        "<h1>maze10: where am I</h1>", "It found the way.", "<dt>Network</dt><dd>PF-LSTM</dd>",
        'max="3"', "The weights of epoch 2 were kept", "prunella train --task maze10</code>",
        "2026-01-02 03:04 UTC",
    ):  # fmt: skip
        assert part in page
    assert 'src="http' not in page


def test_what_is_not_there_is_left_out(report):
    page = render_sequences(report(walks=(), curves={}, created="", command=""))
    for part in (
        "The belief in the maze",
        "Learning</h2>",
        'id="figure-data"',
        "Make this run again",
    ):
        assert part not in page


def test_text_cannot_become_a_part_of_the_page(report, walk):
    evil = '</script><script>alert("1")</script>'
    page = render_sequences(
        report(title=evil, lead=evil, facts=((evil, evil),), command=evil,
               walks=(replace(walk, name=evil),), curves={"epoch": [1.0], evil: [2.0]})
    )  # fmt: skip
    assert evil not in page
    assert "alert(" in page
