"""Panels of curves as one static SVG file, for pages that run no script."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from dataclasses import dataclass

from prunella.core.panels import Curve, Panel, Study
from prunella.report.curves import INK, colours, ends, finite, span, ticks

_WIDTH, _HEIGHT, _GAP = 340, 240, 24  # of the area inside of the axes, and between panels
_LEFT, _TOP, _BOTTOM = 56, 34, 46  # room for labels around it
_BLACK, _GREY, _LINE, _TINT = "#26222f", "#5d576b", "#e3dfea", "#efeafa"
_ROW = 18  # of the legend
_CHARACTER = 6.6  # width, about


@dataclass(frozen=True, slots=True)
class _Scale:
    """From values to pixels along one axis."""

    low: float
    high: float
    start: float
    length: float
    log: bool

    def at(self, value: float) -> float:
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * self.length, 1)


def draw_svg(study: Study) -> str:
    """The figure as text; the same study gives the same text."""
    columns = min(2, len(study.panels))
    rows = math.ceil(len(study.panels) / columns)
    width = columns * (_LEFT + _WIDTH + _GAP)
    painted = {name: _BLACK if colour == INK else colour for name, colour in colours(study).items()}
    key, top = _legend(study, painted, width)
    height = top + rows * (_TOP + _HEIGHT + _BOTTOM)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="system-ui, sans-serif" font-size="12">',
        f"<title>{html.escape(study.title)}</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        *key,
    ]
    for index, panel in enumerate(study.panels):
        x = _LEFT + (index % columns) * (_LEFT + _WIDTH + _GAP)
        y = top + _TOP + (index // columns) * (_TOP + _HEIGHT + _BOTTOM)
        parts += _panel(panel, painted, x, y, f"{study.key}-{index}")
    return "\n".join([*parts, "</svg>\n"])


def _legend(study: Study, painted: Mapping[str, str], width: int) -> tuple[list[str], int]:
    """The names with their colours, and where the panels may begin."""
    dashed = {c.name for panel in study.panels for c in panel.curves if c.dashed}
    parts, x, y = [], 12.0, 20
    for name, colour in painted.items():
        needed = 38 + _CHARACTER * len(name)
        if x + needed > width:
            x, y = 12.0, y + _ROW
        dash = ' stroke-dasharray="5 3"' if name in dashed else ""
        parts.append(
            f'<path d="M{x:.1f} {y - 4}h20" stroke="{colour}" stroke-width="3"{dash}/>'
            + _text(x + 26, y, name, colour=_BLACK)
        )
        x += needed
    return parts, y + 8


def _panel(
    panel: Panel, painted: Mapping[str, str], left: float, top: float, key: str
) -> list[str]:
    xs = finite([x for curve in panel.curves for x in curve.x])
    ys = finite([y for curve in panel.curves for y in ends(curve, log=panel.log_y)])
    across = _Scale(*span(xs, log=panel.log_x), left, _WIDTH, panel.log_x)
    up = _Scale(*span(ys, log=panel.log_y), top + _HEIGHT, -_HEIGHT, panel.log_y)
    middle, foot = left + _WIDTH / 2, top + _HEIGHT
    parts = [_text(left, top - 14, panel.title, colour=_BLACK, weight="600")]
    parts += [
        f'<rect x="{across.at(low)}" y="{top}" width="{across.at(high) - across.at(low):.1f}" '
        f'height="{_HEIGHT}" fill="{_TINT}"/>'
        for low, high in panel.bands
    ]
    for value in ticks(up.low, up.high, log=panel.log_y):
        parts.append(f'<path d="M{left} {up.at(value)}h{_WIDTH}" stroke="{_LINE}"/>')
        parts.append(_text(left - 6, up.at(value) + 4, f"{value:g}", anchor="end"))
    for value in ticks(across.low, across.high, log=panel.log_x):
        parts.append(f'<path d="M{across.at(value)} {foot}v4" stroke="{_GREY}"/>')
        parts.append(_text(across.at(value), foot + 17, f"{value:g}", anchor="middle"))
    parts.append(f'<path d="M{left} {foot}h{_WIDTH}" stroke="{_GREY}"/>')
    for value, what in panel.lines:
        x = across.at(value)
        parts.append(f'<path d="M{x} {foot}V{top}" stroke="{_GREY}" stroke-dasharray="2 3"/>')
        parts.append(_text(x, top - 3, what, anchor="middle"))
    parts.append(_text(middle, foot + 34, panel.x_title, anchor="middle"))
    parts.append(
        f'<text transform="translate({left - 42:.1f} {top + _HEIGHT / 2:.1f}) rotate(-90)" '
        f'text-anchor="middle" fill="{_GREY}">{html.escape(panel.y_title)}</text>'
    )
    parts.append(
        f'<clipPath id="{key}"><rect x="{left}" y="{top - 4}" width="{_WIDTH + 4}" '
        f'height="{_HEIGHT + 8}"/></clipPath><g clip-path="url(#{key})">'
    )
    parts += [_curve(curve, painted[curve.name], across, up) for curve in panel.curves]
    return [*parts, "</g>"]


def _curve(curve: Curve, colour: str, across: _Scale, up: _Scale) -> str:
    if curve.marks:
        return _marks(curve, colour, across, up)
    pieces: list[list[str]] = [[]]
    for x, y in zip(curve.x, curve.y, strict=True):
        if math.isfinite(y):
            pieces[-1].append(f"{across.at(x):g} {up.at(y):g}")
        elif pieces[-1]:
            pieces.append([])
    path = "".join(f"M{'L'.join(piece)}" for piece in pieces if piece)
    dash = ' stroke-dasharray="6 4"' if curve.dashed else ""
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.8"{dash}/>'


def _marks(curve: Curve, colour: str, across: _Scale, up: _Scale) -> str:
    errors = curve.errors or (0.0,) * len(curve.y)
    bars, circles = [], []
    for x, y, error in zip(curve.x, curve.y, errors, strict=True):
        if not math.isfinite(y):
            continue
        place = across.at(x)
        circles.append(f'<circle cx="{place:g}" cy="{up.at(y):g}" r="2.6"/>')
        if error:
            low = max(y - error, up.low) if up.log else y - error
            bars.append(f"M{place:g} {up.at(low):g}V{up.at(y + error):g}")
    path = f'<path d="{"".join(bars)}" stroke="{colour}" fill="none"/>' if bars else ""
    return f'{path}<g fill="{colour}">{"".join(circles)}</g>'


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", colour: str = _GREY, weight: str = ""
) -> str:
    bold = f' font-weight="{weight}"' if weight else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}"{bold}>'
        f"{html.escape(text)}</text>"
    )
