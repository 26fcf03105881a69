"""Panels of curves as plotly figures, pages and static SVG files."""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ElementTree

import pytest

from prunella.core.panels import Curve, Panel, Study
from prunella.report import Table, draw_svg, render_studies
from prunella.report.curves import INK, PALETTE, colours, ends, panel_figures, span, ticks

NAMESPACE = "{http://www.w3.org/2000/svg}"


def study(**others):
    lines = Curve(name="a & b", x=(0, 1, 2, 3), y=(1, math.inf, 100, 10))
    marks = Curve(name="a & b", x=(0, 2), y=(1, 90), errors=(0.5, 20), marks=True)
    level = Curve(name="level", x=(0, 3), y=(5, 5), dashed=True)
    panel = Panel(
        title="first", x_title="size", y_title="risk", curves=(lines, level, marks),
        lines=((1.0, "n"),), log_y=True, bands=((2.0, 3.0),),
    )  # fmt: skip
    other = Panel(title="second", x_title="size", y_title="risk", curves=(level,))
    return Study(key="key", title="Title <1>", text="Text.", panels=(panel, other), **others)


def test_a_name_has_one_colour_and_dashed_lines_are_ink():
    assert colours(study()) == {"a & b": PALETTE[0], "level": INK}
    # The order that is given counts, with names that are not drawn; those are not in the legend.
    ordered = colours(study(names=("level", "other", "a & b")))
    assert ordered == {"level": INK, "a & b": PALETTE[1]}


def test_svg_is_well_formed_and_draws_every_value():
    root = ElementTree.fromstring(draw_svg(study()))
    texts = [text.text for text in root.iter(f"{NAMESPACE}text")]
    for text in ("first", "second", "size", "risk", "n", "a & b", "level"):
        assert text in texts
    assert len(list(root.iter(f"{NAMESPACE}circle"))) == 2
    paths = [path.get("d") for path in root.iter(f"{NAMESPACE}path")]
    # An infinite value leaves a gap: a piece of one point and a piece of two.
    assert any(re.fullmatch(r"M[\d. ]+M[\d. ]+L[\d. ]+", path) for path in paths)
    assert draw_svg(study()) == draw_svg(study())


@pytest.mark.parametrize(("log", "error"), [(False, 50.0), (True, 9.0)])
def test_bars_lie_inside_of_the_axes(log, error):
    marks = Curve(name="m", x=(0, 1), y=(10, 20), errors=(error, 1.0), marks=True)
    low, high = span(ends(marks, log=log), log=log)
    assert low < 10 - error
    assert high > 10 + (error if error > 11 else 11)
    assert (low > 0) is log
    # Of a bar that would reach 0 on a log scale the upper end counts.
    assert ends(Curve(name="m", x=(0,), y=(1,), errors=(2,)), log=True) == [1, 3]


def test_svg_puts_larger_values_higher_and_keeps_proportions():
    root = ElementTree.fromstring(draw_svg(study()))
    low, high = (float(c.get("cy")) for c in root.iter(f"{NAMESPACE}circle"))
    assert high < low
    # On a log scale 1 to 10 is as far as 10 to 100: the line ends at 100 and 10.
    line = next(p.get("d") for p in root.iter(f"{NAMESPACE}path") if "ML" not in p.get("d")
                and re.fullmatch(r"M[\d. ]+M[\d. ]+L[\d. ]+", p.get("d")))  # fmt: skip
    one, hundred, ten = (float(y) for y in re.findall(r"[\d.]+ ([\d.]+)", line))
    assert one - ten == pytest.approx(ten - hundred, abs=0.3)


def test_widths_that_double_are_equally_far_apart():
    marks = Curve(name="a", x=(8, 16, 32), y=(1, 2, 3), marks=True)
    panel = Panel(
        title="first", x_title="width", y_title="error", curves=(marks,), lines=((16.0, "here"),),
        log_x=True,
    )  # fmt: skip
    doubling = Study(key="key", title="Title", text="Text.", panels=(panel,))
    root = ElementTree.fromstring(draw_svg(doubling))
    first, second, third = (float(c.get("cx")) for c in root.iter(f"{NAMESPACE}circle"))
    assert second - first == pytest.approx(third - second, abs=0.2)
    assert {"10", "20"} <= {text.text for text in root.iter(f"{NAMESPACE}text")}
    layout = panel_figures(doubling)[0].spec["layout"]
    assert layout["xaxis"]["type"] == "log"
    assert layout["xaxis"]["tickvals"] == [10, 20]
    assert "type" not in layout["yaxis"]
    # plotly wants the place of a line as it is, and that of its name as a logarithm.
    assert layout["shapes"][0]["x0"] == 16
    assert layout["annotations"][0]["x"] == pytest.approx(math.log10(16))


@pytest.mark.parametrize(
    ("low", "high", "log", "expected"),
    [
        (0.18, 24, True, [0.2, 0.5, 1, 2, 5, 10, 20]),
        (0.001, 9000, True, [0.001, 0.01, 0.1, 1, 10, 100, 1000]),
        (3.1, 3.3, True, [3.1, 3.3]),
        (0.2, 5.1, False, [1, 2, 3, 4, 5]),
        (-0.04, 1.03, False, [0, 0.2, 0.4, 0.6, 0.8, 1]),
    ],
)
def test_ticks_are_round(low, high, log, expected):
    assert ticks(low, high, log=log) == pytest.approx(expected)


@pytest.mark.parametrize("log", [True, False])
def test_one_value_has_a_range_around_it(log):
    low, high = span([3.0, 3.0], log=log)
    assert low < 3 < high


def test_figures_hold_what_json_can():
    first, second = panel_figures(study())
    assert (first.key, second.key) == ("figure-key-0", "figure-key-1")
    assert first.spec["data"][0]["y"] == [1, None, 100, 10]
    assert first.spec["data"][2]["error_y"]["array"] == [0.5, 20]
    assert first.spec["layout"]["yaxis"]["type"] == "log"
    assert len(first.spec["layout"]["shapes"]) == 2
    assert "a & b" in first.label
    json.dumps(first.spec, allow_nan=False)


def test_page_has_figures_tables_and_escapes_names():
    table = Table(title="All", head=("k", "risk"), rows=(("1", "<2>"),))
    page = render_studies("T", "Lead.", [study()], tables=[table], command="prunella x <y>")
    assert "Title &lt;1&gt;" in page
    assert "<td>&lt;2&gt;</td>" in page
    assert "prunella x &lt;y&gt;" in page
    assert 'id="figure-key-1"' in page
    data = re.search(r'id="figure-data">(.*?)</script>', page, re.DOTALL)
    assert set(json.loads(data[1])) == {"figure-key-0", "figure-key-1"}
