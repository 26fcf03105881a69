"""Curves to be drawn: what a study found, as plain numbers, whoever draws it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Points in one colour.

    Attributes:
        name: For the legend; the same name has the same colour in all panels of a study.
        x: Where, rising for lines.
        y: Values; infinite ones leave a gap.
        errors: Standard errors of y, empty if there are none to show.
        marks: Whether the points are drawn as markers; otherwise they are joined by a line.
        dashed: Whether the line is dashed.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    errors: tuple[float, ...] = ()
    marks: bool = False
    dashed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One pair of axes.

    Attributes:
        title: Above it.
        x_title: Of the horizontal axis.
        y_title: Of the vertical axis.
        curves: What is drawn; later ones on top.
        lines: Places of vertical lines, with what they are.
        log_x: Whether the horizontal axis is logarithmic.
        log_y: Whether the vertical axis is logarithmic.
        bands: Horizontal stretches (from, to) that are shaded.
    """

    title: str
    x_title: str
    y_title: str
    curves: tuple[Curve, ...]
    lines: tuple[tuple[float, str], ...] = ()
    log_x: bool = False
    log_y: bool = False
    bands: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """One figure: panels that share their legend.

    Attributes:
        key: Short name, also of its file.
        title: What is asked.
        text: What it shows, in a few sentences.
        panels: Two to a row.
        names: Curves in the order of their colours, where that is not the order of appearance;
            with the same names several studies agree in their colours.
    """

    key: str
    title: str
    text: str
    panels: tuple[Panel, ...]
    names: tuple[str, ...] = ()
