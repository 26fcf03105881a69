"""Panels of curves as plotly figures; colours go with the names of the curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from prunella.core.panels import Curve, Panel, Study
from prunella.report.plots import SOFT_TEXT, Figure, Spec, axis, layout, number, plain

# Readable on a light and on a dark page; grey first, for what is not pruned.
PALETTE = (
    "#857f92", "#cf8a1c", "#7b62d3", "#1f9a70", "#d6477b", "#2f8bd0", "#9c5f3a", "#6c8a2e",
    "#c9372c", "#18a3ad",
)  # fmt: skip
INK = "var(--ink)"  # dashed lines: what others are measured against
_HEIGHT = 340


def colours(study: Study) -> dict[str, str]:
    """A colour for each name that a study shows; ink for dashed lines."""
    shown: dict[str, bool] = {}
    for panel in study.panels:
        for curve in panel.curves:
            shown.setdefault(curve.name, curve.dashed)
    order = list(dict.fromkeys([*study.names, *shown]))
    places = [name for name in order if not shown.get(name, False)]
    painted = {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(places)}
    return {name: painted.get(name, INK) for name in order if name in shown}


def panel_figures(study: Study) -> list[Figure]:
    """One figure for each panel."""
    painted = colours(study)
    return [
        _figure(f"figure-{study.key}-{index}", panel, painted)
        for index, panel in enumerate(study.panels)
    ]


def _figure(key: str, panel: Panel, painted: Mapping[str, str]) -> Figure:
    names = list(dict.fromkeys(curve.name for curve in panel.curves))
    shapes: list[Spec] = [
        {
            "type": "line", "x0": place, "x1": place, "yref": "paper", "y0": 0, "y1": 1,
            "line": {"color": "var(--soft)", "width": 1, "dash": "dot"},
        }
        for place, _ in panel.lines
    ]  # fmt: skip
    shapes += [
        {
            "type": "rect", "x0": low, "x1": high, "yref": "paper", "y0": 0, "y1": 1,
            "fillcolor": "var(--tint)", "line": {"width": 0}, "layer": "below",
        }
        for low, high in panel.bands
    ]  # fmt: skip
    notes = [
        {
            # On a logarithmic axis shapes have places as they are, and notes their logarithms.
            "text": plain(what), "x": math.log10(place) if panel.log_x else place,
            "yref": "paper", "y": 1, "yanchor": "bottom",
            "showarrow": False, "font": SOFT_TEXT,
        }
        for place, what in panel.lines
    ]  # fmt: skip
    xs = [x for curve in panel.curves for x in curve.x] if panel.log_x else []
    ys = [y for curve in panel.curves for y in curve.y] if panel.log_y else []
    return Figure(
        key=key,
        label=f"{panel.title}: {panel.y_title} over {panel.x_title}; {', '.join(names)}.",
        height=_HEIGHT,
        spec={
            "data": [_trace(curve, painted[curve.name]) for curve in panel.curves],
            "layout": layout(
                _HEIGHT,
                margin={"l": 56, "r": 16, "t": 24, "b": 48},
                xaxis=axis(plain(panel.x_title), **_log(xs)),
                yaxis=axis(plain(panel.y_title), **_log(ys)),
                shapes=shapes,
                annotations=notes,
            ),
            "narrow": {"margin.l": 48, "margin.r": 8},
        },
    )


def _log(values: Sequence[float]) -> Spec:
    """What makes an axis with these values logarithmic; nothing if there are none."""
    if not values:
        return {}
    marked = ticks(*span(finite(values), log=True), log=True)
    return {"type": "log", "tickvals": marked, "ticktext": [f"{value:g}" for value in marked]}


def _trace(curve: Curve, colour: str) -> Spec:
    spec: Spec = {
        "type": "scatter",
        "mode": "markers" if curve.marks else "lines",
        "x": [number(x) for x in curve.x],
        "y": [number(y) for y in curve.y],
        "line": {"color": colour, "width": 2, "dash": "dash" if curve.dashed else "solid"},
        "marker": {"color": colour, "size": 6},
        "hovertemplate": f"{plain(curve.name)}<br>%{{x}}: %{{y:.4g}}<extra></extra>",
    }
    if curve.errors:
        spec["error_y"] = {
            "type": "data", "array": [number(e) for e in curve.errors], "color": colour,
            "thickness": 1.2, "width": 3,
        }  # fmt: skip
    return spec


def finite(values: Sequence[float]) -> list[float]:
    """Those that can be drawn."""
    return [value for value in values if math.isfinite(value)]


def ends(curve: Curve, *, log: bool) -> list[float]:
    """The values of a curve and the ends of their bars; on a log scale those above 0."""
    pairs = zip(curve.y, curve.errors, strict=False)
    bars = [end for y, error in pairs for end in (y - error, y + error)]
    return [*curve.y, *(end for end in bars if end > 0 or not log)]


def span(values: Sequence[float], *, log: bool) -> tuple[float, float]:
    """From a little below the least to a little above the greatest value."""
    low, high = min(values), max(values)
    if log:
        spare = (high / low) ** 0.05 if high > low else 2.0
        return low / spare, high * spare
    spare = 0.03 * (high - low) if high > low else 1.0
    return low - spare, high + spare


def ticks(low: float, high: float, *, log: bool) -> list[float]:
    """Round numbers within a range, at most nine or so."""
    if log:
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        steps = (1, 2, 5) if len(decades) <= 4 else (1,)
        within = [m * 10.0**e for e in decades for m in steps if low <= m * 10.0**e <= high]
        return within or [low, high]
    rough = (high - low) / 7
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(m * unit for m in (1, 2, 5, 10) if m * unit >= rough)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [round(i * step, 10) for i in range(first, last + 1)]
