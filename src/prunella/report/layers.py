"""The two figures that show every layer: channels kept and removed, and their scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

from prunella.core.results import LayerReport
from prunella.report import units, words
from prunella.report.bins import Row, binned
from prunella.report.plots import (
    BESIDE,
    INK_TEXT,
    SOFT_TEXT,
    Figure,
    Spec,
    axis,
    labels,
    layout,
    plain,
    room,
    shortened,
)

ROWS = 40  # layers in one figure, so that a figure fits on a printed page
_CELLS = 4800  # steps of all score curves together; bounds the size of the file
_LABEL = 34  # characters of a layer's name beside its row; the table has the whole name
_NARROW_LABEL = 18
_BASE, _RISE = 0.42, 0.84  # where a score curve stands in its row of height one
_FLOOR = 0.15  # height of a score of zero, so that its colour is seen


def _rows_axis(names: Sequence[str]) -> tuple[Spec, Spec]:
    """A vertical axis with one named row per layer, from the top, and its narrow form."""
    rows = axis(
        tickvals=list(range(len(names))),
        ticktext=[plain(shortened(name, _LABEL)) for name in names],
        range=[len(names) - 0.4, -0.6],
        showgrid=False,
        automargin=True,
        **BESIDE,
    )
    rows["tickfont"] = INK_TEXT
    narrow = {
        "yaxis.ticktext": [plain(shortened(name, _NARROW_LABEL)) for name in names],
        "yaxis.tickfont.size": 11,
    }
    return rows, narrow


def _chunks(layers: Sequence[LayerReport]) -> Iterable[Sequence[LayerReport]]:
    """Runs of at most ROWS layers, all about equally long."""
    number = math.ceil(len(layers) / ROWS)
    edges = [index * len(layers) // number for index in range(number + 1)] if number else []
    return (layers[start:end] for start, end in pairwise(edges))


def layer_figures(layers: Sequence[LayerReport]) -> tuple[Figure, ...]:
    """Kept and removed channels of each layer, in the order of the model."""
    widest = max((len(layer.kept) for layer in layers), default=0)
    return tuple(
        _layer_figure(f"figure-layers-{index}", chunk, widest)
        for index, chunk in enumerate(_chunks(layers))
    )


def _layer_figure(key: str, layers: Sequence[LayerReport], widest: int) -> Figure:
    rows = list(range(len(layers)))
    sizes = [len(layer.kept) for layer in layers]
    kept = [sum(layer.kept) for layer in layers]
    hover = [_layer_hover(layer) for layer in layers]
    frozen = [bool(layer.reason) for layer in layers]

    def bars(lengths: Sequence[int], color: str, **marker: object) -> Spec:
        return {
            "type": "bar",
            "orientation": "h",
            "x": lengths,
            "y": rows,
            "width": 0.66,
            "marker": {"color": f"var(--{color})", "line": {"width": 0}, **marker},
            "customdata": hover,
            "hovertemplate": "%{customdata}<extra></extra>",
        }

    texts = [
        f"  {n:,} frozen" if still else f"  {k:,} of {n:,}"
        for k, n, still in zip(kept, sizes, frozen, strict=True)
    ]
    stripes = {"shape": "/", "size": 6, "solidity": 0.25, "fgcolor": "var(--soft)"}
    parts = tuple(zip(kept, sizes, frozen, strict=True))
    data = [
        bars([0 if still else k for k, _, still in parts], "kept"),
        bars([0 if still else n - k for k, n, still in parts], "removed"),
        bars([n if still else 0 for _, n, still in parts], "frozen", pattern=stripes),
        labels(
            sizes,
            rows,
            texts,
            textfont=SOFT_TEXT,
        ),
    ]
    height = 70 + 26 * len(layers) if len(layers) <= 20 else 70 + 19 * len(layers)
    yaxis, narrow = _rows_axis([layer.name for layer in layers])
    spec_layout = layout(
        height,
        barmode="stack",
        margin={"l": 8, "r": 24, "t": 8, "b": 48},
        xaxis=axis("channels", range=room(widest, texts, 620)),
        yaxis=yaxis,
    )
    return Figure(
        key=key,
        label=f"Channels kept and removed from {layers[0].name} to {layers[-1].name}: "
        f"{words.channels(layers)} The numbers are in the table below.",
        height=height,
        spec={
            "data": data,
            "layout": spec_layout,
            "narrow": {**narrow, "xaxis.range": room(widest, texts, 220)},
        },
    )


def _layer_hover(layer: LayerReport) -> str:
    size, kept = len(layer.kept), sum(layer.kept)
    name = f"<b>{plain(shortened(layer.name, 60))}</b>"
    if layer.reason:
        return f"{name}<br>{words.number_of(size, 'channel')}, all kept<br>frozen"
    share = units.share(kept / size) if size else units.share(1.0)
    return f"{name}<br>kept {kept} of {size} ({share})<br>removed {size - kept}"


# Scores


def score_figures(layers: Sequence[LayerReport]) -> tuple[Figure, ...]:
    """Sorted scores of each scored layer, the kept part of each step marked."""
    scored = [layer for layer in layers if layer.scores and len(layer.scores) == len(layer.kept)]
    steps = max(24, min(160, _CELLS // max(1, len(scored))))
    return tuple(
        _score_figure(f"figure-scores-{index}", chunk, steps)
        for index, chunk in enumerate(_chunks(scored))
    )


def _score_figure(key: str, layers: Sequence[LayerReport], steps: int) -> Figure:
    rows = [binned(layer, steps) for layer in layers]
    data = [
        _areas(rows, "var(--removed)", _whole),
        _areas(rows, "var(--kept)", _kept),
        _score_hover(layers, rows),
    ]
    height = 70 + 34 * len(layers) if len(layers) <= 20 else 70 + 22 * len(layers)
    yaxis, narrow = _rows_axis([layer.name for layer in layers])
    spec_layout = layout(
        height,
        margin={"l": 8, "r": 16, "t": 8, "b": 48},
        xaxis=axis(
            "channels, highest score first",
            range=[-0.5, 100.5],
            tickvals=[0, 25, 50, 75, 100],
            ticktext=["first", "25 %", "50 %", "75 %", "last"],
        ),
        yaxis=yaxis,
    )
    return Figure(
        key=key,
        label=f"Sorted scores of the channels from {layers[0].name} to {layers[-1].name}, kept "
        "and removed. The numbers are in the table of layers.",
        height=height,
        spec={"data": data, "layout": spec_layout, "narrow": narrow},
    )


def _areas(rows: Sequence[Row], color: str, share: Callable[[Row, int], float]) -> Spec:
    """The part `share` of each step, all in one trace (a None ends a polygon)."""
    xs: list[float | None] = []
    ys: list[float | None] = []
    for index, row in enumerate(rows):
        base = index + _BASE
        for start, end in _runs([share(row, step) > 0 for step in range(len(row.heights))]):
            xs.append(row.edges[start])
            ys.append(base)
            for step in range(start, end):
                top = round(base - _height(row, step) * share(row, step), 3)
                xs += [row.edges[step], row.edges[step + 1]]
                ys += [top, top]
            xs += [row.edges[end], None]
            ys += [base, None]
    return {
        "type": "scatter",
        "mode": "lines",
        "x": xs,
        "y": ys,
        "fill": "toself",
        "fillcolor": color,
        "line": {"color": color, "width": 0},
        "hoverinfo": "skip",
    }


def _whole(row: Row, step: int) -> float:
    del row, step
    return 1.0


def _kept(row: Row, step: int) -> float:
    return row.kept[step]


def _height(row: Row, step: int) -> float:
    """Height of a step in rows; even a score of zero is visible."""
    return _RISE * (_FLOOR + (1 - _FLOOR) * row.heights[step])


def _runs(present: Sequence[bool]) -> Iterable[tuple[int, int]]:
    """Start and end of each run of True."""
    edges = [
        step for step, (old, new) in enumerate(pairwise([False, *present, False])) if old != new
    ]
    return zip(edges[::2], edges[1::2], strict=True)


def _score_hover(layers: Sequence[LayerReport], rows: Sequence[Row]) -> Spec:
    """Invisible points that carry the numbers of each step."""
    xs: list[float] = []
    ys: list[float] = []
    texts: list[str] = []
    for index, (layer, row) in enumerate(zip(layers, rows, strict=True)):
        name = plain(shortened(layer.name, 40))
        for step, mean in enumerate(row.means):
            xs.append(round((row.edges[step] + row.edges[step + 1]) / 2, 2))
            ys.append(round(index + _BASE - _height(row, step) / 2, 3))
            first, last = row.ranks[step] + 1, row.ranks[step + 1]
            if first == last:
                fate = "kept" if row.kept[step] else "removed"
                texts.append(f"{name}<br>rank {first}: {units.score(mean)}, {fate}")
            else:
                kept = round(row.kept[step] * (last - first + 1))
                texts.append(
                    f"{name}<br>ranks {first} to {last}: mean {units.score(mean)}, "
                    f"{kept} of {last - first + 1} kept"
                )
    return {
        "type": "scatter",
        "mode": "markers",
        "x": xs,
        "y": ys,
        "marker": {"size": 6, "opacity": 0},
        "customdata": texts,
        "hovertemplate": "%{customdata}<extra></extra>",
    }
