"""The stepped picture of a belief: particles over the map, and how many of them count.

A figure has "frames": for each step what replaces parts of its traces. The page's script puts in
the frame that the slider below the figure stands at; without the script the first one is shown.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from prunella.core.beliefs import BeliefWalk, Place
from prunella.report.plots import Figure, Spec, axis, layout, rounded

_HEIGHT = 640
_WALL, _BEACON = 1, 2
_TRAIL = 8  # steps of the past that are drawn


def belief_figure(walk: BeliefWalk, cells: Sequence[Sequence[int]], *, key: str) -> Figure:
    """Particles, mean and true pose over the map, and the effective sample size below.

    Args:
        walk: T steps.
        cells: Rows of the map, the first at the top.
        key: Id of the figure in the page.
    """
    height, width = len(cells), len(cells[0])
    steps = range(len(walk.truth))
    frames = [_frame(walk, step) for step in steps]
    count = len(walk.weights[0])
    traces = [
        _ess_line(walk),
        {**_dots("var(--ink)"), "mode": "lines", "line": {"color": "var(--ink)", "width": 1.5}},
        _dots("var(--kept)", hovertemplate="particle at %{x:.2f}, %{y:.2f}<extra></extra>"),
        _dots("var(--removed)", symbol="x", size=12, hovertemplate="mean<extra></extra>"),
        _dots("var(--ink)", symbol="triangle-up", size=15, hovertemplate="truth<extra></extra>"),
        {**_dots("var(--kept)", size=9), "xaxis": "x2", "yaxis": "y2"},
    ]
    data = [_with(trace, part) for trace, part in zip(traces, frames[0], strict=True)]
    last = math.dist(walk.truth[-1], walk.mean[-1])
    return Figure(
        key=key,
        label=f"Belief of {walk.name} at each of {len(steps)} steps; at the last one the mean "
        f"prediction is {last:.2f} cells from the truth, and {walk.effective[-1]:.1f} of {count} "
        "particles count.",
        height=_HEIGHT,
        spec={
            "data": data,
            "frames": frames,
            "layout": layout(
                _HEIGHT,
                margin={"l": 48, "r": 16, "t": 8, "b": 44},
                shapes=_shapes(cells),
                xaxis=axis(
                    range=[0, width], domain=[0, 1], anchor="y", showgrid=False,
                    showticklabels=False, constrain="domain",
                ),
                yaxis=axis(
                    range=[0, height], domain=[0.27, 1], anchor="x", scaleanchor="x",
                    showgrid=False, showticklabels=False, constrain="domain",
                ),
                xaxis2=axis("step", anchor="y2", range=[0.5, len(steps) + 0.5], showgrid=False),
                yaxis2=axis(
                    "particles<br>that count", anchor="x2", domain=[0, 0.17],
                    range=[0, round(1.08 * count, 2)], nticks=4,
                ),
            ),
            "narrow": {"margin.r": 8, "margin.l": 32, "yaxis2.title.text": ""},
        },
    )  # fmt: skip


def _frame(walk: BeliefWalk, step: int) -> list[Spec]:
    """What stands in each trace at one step."""
    weights, count = walk.weights[step], len(walk.weights[step])
    trail = walk.truth[max(0, step - _TRAIL) : step + 1]
    heading = {"angle": round(walk.headings[step], 1)} if walk.headings else {}
    relative = [weight * count for weight in weights]  # 1 where all weigh the same
    return [
        {},
        _at(trail),
        {
            **_at(walk.particles[step]),
            "marker": {
                "size": [round(min(max(7 * math.sqrt(w), 2.5), 26), 1) for w in relative],
                "opacity": [round(0.2 + 0.5 * min(w / 2, 1.0), 2) for w in relative],
            },
        },
        _at([walk.mean[step]]),
        {**_at([walk.truth[step]]), "marker": heading},
        {"x": [step + 1], "y": [round(walk.effective[step], 2)]},
    ]


def _at(places: Sequence[Place]) -> Spec:
    return {"x": rounded(x for x, _ in places), "y": rounded(y for _, y in places)}


def _with(trace: Spec, part: Spec) -> Spec:
    marker = {**trace["marker"], **part.get("marker", {})}
    return {**trace, **part, "marker": marker}


def _dots(color: str, *, symbol: str = "circle", size: int = 7, **entries: object) -> Spec:
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [],
        "y": [],
        "marker": {"color": color, "symbol": symbol, "size": size, "line": {"width": 0}},
        "hoverinfo": "skip" if "hovertemplate" not in entries else "text",
        **entries,
    }


def _ess_line(walk: BeliefWalk) -> Spec:
    return {
        **_dots("var(--kept)", hovertemplate="step %{x}: %{y:.1f} particles<extra></extra>"),
        "mode": "lines",
        "x": list(range(1, len(walk.effective) + 1)),
        "y": [round(value, 2) for value in walk.effective],
        "line": {"color": "var(--kept)", "width": 2},
        "xaxis": "x2",
        "yaxis": "y2",
    }


def _shapes(cells: Sequence[Sequence[int]]) -> list[Spec]:
    """The border, and runs of walls and beacons in each row as rectangles."""
    height, width = len(cells), len(cells[0])
    shapes = [
        _rectangle(0, 0, width, height, "rgba(0,0,0,0)", line={"color": "var(--soft)", "width": 1})
    ]
    for number, row in enumerate(cells):
        y = height - 1 - number
        start = 0
        while start < width:
            end = start
            while end < width and row[end] == row[start]:
                end += 1
            if row[start] in (_WALL, _BEACON):
                color = "var(--frozen)" if row[start] == _WALL else "var(--before)"
                shapes.append(_rectangle(start, y, end, y + 1, color, line={"width": 0}))
            start = end
    return shapes


def _rectangle(x0: int, y0: int, x1: int, y1: int, color: str, *, line: Spec) -> Spec:
    return {
        "type": "rect",
        "layer": "below",
        "x0": x0,
        "y0": y0,
        "x1": x1,
        "y1": y1,
        "fillcolor": color,
        "line": line,
    }
