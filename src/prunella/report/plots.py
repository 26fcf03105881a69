"""What all figures of a report share: plotly specifications as plain dictionaries.

Colours are names of CSS variables, for instance "var(--kept)"; the page's script puts in the
values of the present colour scheme, so that the palette is written down once, in the style sheet.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Spec = dict[str, Any]

_CLEAR = "rgba(0,0,0,0)"
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
SOFT_TEXT = {"size": 12, "color": "var(--soft)"}
# Invisible ticks keep an axis's labels off its bars.
BESIDE: Spec = {"ticks": "outside", "ticklen": 6, "tickcolor": _CLEAR}
INK_TEXT = {"size": 12, "color": "var(--ink)"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure.

    Attributes:
        key: Its id in the page.
        label: What it shows, in words, for those who cannot see it.
        height: In CSS pixels.
        spec: "data" and "layout" for plotly, and "narrow": layout entries that replace others on
            a narrow screen, under dotted names such as "yaxis.ticktext".
    """

    key: str
    label: str
    height: int
    spec: Spec


def layout(height: int, **entries: object) -> Spec:
    """The layout of a figure, with entries of its own."""
    return {
        "height": height,
        "paper_bgcolor": _CLEAR,
        "plot_bgcolor": _CLEAR,
        "font": {"family": _FONT, "size": 13, "color": "var(--ink)"},
        "margin": {"l": 56, "r": 24, "t": 16, "b": 48},
        "showlegend": False,
        "hovermode": "closest",
        "dragmode": False,
        "hoverlabel": {
            "bgcolor": "var(--card)",
            "bordercolor": "var(--line)",
            "font": {"color": "var(--ink)", "size": 13},
            "align": "left",
        },
        **entries,
    }


def axis(title: str = "", **entries: object) -> Spec:
    """An axis that cannot be dragged, so that a finger scrolls the page."""
    return {
        "title": {"text": title, "font": SOFT_TEXT, "standoff": 10},
        "tickfont": SOFT_TEXT,
        "gridcolor": "var(--line)",
        "zeroline": False,
        "fixedrange": True,
        **entries,
    }


def plain(text: str) -> str:
    """Text that plotly shows as it is; plotly reads a small part of HTML in its texts."""
    return html.escape(text, quote=False)


def shortened(name: str, length: int) -> str:
    """Keep both ends of a long name, which tell stage and layer."""
    if len(name) <= length:
        return name
    head = length // 3
    return f"{name[:head]}…{name[head + 1 - length :]}"


def labels(xs: list[Any], ys: list[Any], texts: list[str], **entries: object) -> Spec:
    """Text to the right of points."""
    return {
        "type": "scatter",
        "mode": "text",
        "x": xs,
        "y": ys,
        "text": texts,
        "textposition": "middle right",
        "textfont": INK_TEXT,
        "hoverinfo": "skip",
        "cliponaxis": False,
        **entries,
    }


def room(longest: float, texts: Iterable[str], plot_width: int) -> list[float]:
    """Range of an axis on which bars up to `longest` leave room for their texts at the right."""
    pixels = 7.0 * max(map(len, texts), default=0)
    return [0.0, round(max(longest, 1.0) / max(0.2, 1 - pixels / plot_width), 2)]


def number(value: float) -> float | None:
    """JSON has no infinite numbers; plotly leaves a gap for null."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def rounded(values: Iterable[float]) -> list[float]:
    """Four decimals, to keep the page small."""
    return [round(value, 4) for value in values]
