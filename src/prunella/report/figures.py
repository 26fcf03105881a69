"""The figures of accuracy, latency and retraining."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from prunella.core.results import Accuracies, RunTimes
from prunella.report import units, words
from prunella.report.plots import (
    BESIDE,
    Figure,
    Spec,
    axis,
    labels,
    layout,
    number,
    plain,
    room,
    rounded,
    shortened,
)

_POINTS = 2000  # points of one training curve


def interval(accuracy: float, samples: int) -> tuple[float, float]:
    """95 % score interval for a probability (Wilson 1927) after `samples` independent samples."""
    z = 1.959964
    spread = z * math.sqrt(accuracy * (1 - accuracy) / samples + z**2 / (4 * samples**2))
    centre = accuracy + z**2 / (2 * samples)
    scale = 1 + z**2 / samples
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def accuracy_figure(accuracy: Accuracies) -> Figure | None:
    """Accuracy at each stage that was measured, with a 95 % interval."""
    stages = words.stages(accuracy)
    if not stages:
        return None
    places = list(range(len(stages)))
    values = [100 * value for _, value in stages]
    ends = [
        interval(value, accuracy.samples) if accuracy.samples > 0 else (value, value)
        for _, value in stages
    ]
    lows, highs = ([100 * end[side] for end in ends] for side in (0, 1))
    below = _dips(values)
    texts = [
        {
            "text": f"<b>{plain(units.share(value))}</b>",
            "x": place,
            "y": round(low if dip else high, 4),
            # Pixels, so that the text clears the marker whatever the scale.
            "yshift": -10 if dip else 10,
            "yanchor": "top" if dip else "bottom",
            "font": {"size": 15, "color": "var(--ink)"},
            "showarrow": False,
        }
        for place, (_, value), low, high, dip in zip(
            places, stages, lows, highs, below, strict=True
        )
    ]
    colors = ["var(--before)" if name == "Original" else "var(--kept)" for name, _ in stages]
    points: Spec = {
        "type": "scatter",
        "mode": "lines+markers",
        "x": places,
        "y": rounded(values),
        "line": {"color": "var(--before)", "width": 1.5, "dash": "dot"},
        "marker": {"size": 13, "color": colors, "opacity": 1},
        "error_y": {
            **_error_bars(lows, values, highs),
            "color": "var(--soft)",
            "thickness": 1.2,
            "width": 5,
            "visible": accuracy.samples > 0,
        },
        "hovertext": [
            f"{name}: {plain(units.share(value, 2))}"
            + (f"<br>95 % interval {low:.2f} to {high:.2f} %" if accuracy.samples > 0 else "")
            for (name, value), low, high in zip(stages, lows, highs, strict=True)
        ],
        "hoverinfo": "text",
        "cliponaxis": False,
    }
    pad = max(0.3 * (max(highs) - min(lows)), 1.0)
    label = "Accuracy at each stage: " + words.listed(
        [f"{name.lower()} {units.share(value)}" for name, value in stages]
    )
    return Figure(
        key="figure-accuracy",
        label=f"{label}.",
        height=300,
        spec={
            "data": [points],
            "layout": layout(
                300,
                margin={"l": 60, "r": 24, "t": 24, "b": 56},
                annotations=texts,
                xaxis=axis(
                    tickvals=places,
                    ticktext=[name.replace(" ", "<br>", 1) for name, _ in stages],
                    range=[-0.5, len(stages) - 0.5],
                    showgrid=False,
                    tickangle=0,
                ),
                yaxis=axis(
                    range=rounded([max(min(lows) - pad, -4), min(max(highs) + pad, 106)]),
                    ticksuffix=f"{units.SPACE}%",
                    nticks=6,
                ),
            ),
            "narrow": {"margin.r": 8},
        },
    )


def _dips(values: Sequence[float]) -> list[bool]:
    """For each value whether both neighbours lie higher: its label then goes below."""
    inner = range(1, len(values) - 1)
    return [
        place in inner and values[place - 1] > value < values[place + 1]
        for place, value in enumerate(values)
    ]


def _error_bars(lows: Sequence[float], middles: Sequence[float], highs: Sequence[float]) -> Spec:
    return {
        "type": "data",
        "symmetric": False,
        "array": rounded(high - mid for high, mid in zip(highs, middles, strict=True)),
        "arrayminus": rounded(mid - low for low, mid in zip(lows, middles, strict=True)),
    }


def latency_figure(latency: Sequence[RunTimes]) -> Figure | None:
    """Time per batch against the original's median, with quartiles."""
    timed = [item for item in latency if item.before[1] > 0]
    if not timed:
        return None
    data = [
        *_latency_bars(timed, [item.before for item in timed], -0.2, "before", "original"),
        *_latency_bars(timed, [item.after for item in timed], 0.2, "kept", "small network"),
    ]
    longest = max(
        100 * time[2] / item.before[1] for item in timed for time in (item.before, item.after)
    )
    texts = [f"  {units.seconds(time[1])}" for item in timed for time in (item.before, item.after)]
    height = 76 + 62 * len(timed)
    label = "Time per batch: " + "; ".join(
        f"batch {item.batch}, {units.seconds(item.before[1])} before and "
        f"{units.seconds(item.after[1])} after"
        for item in timed
    )
    return Figure(
        key="figure-latency",
        label=f"{label}.",
        height=height,
        spec={
            "data": data,
            "layout": layout(
                height,
                margin={"l": 8, "r": 24, "t": 8, "b": 48},
                xaxis=axis(
                    "time per batch, original = 100 %",
                    range=room(longest, texts, 700),
                    ticksuffix=f"{units.SPACE}%",
                    nticks=7,
                ),
                yaxis=axis(
                    tickvals=list(range(len(timed))),
                    ticktext=[
                        f"batch{units.SPACE}{item.batch}<br><b>{units.times(item.speedup)}</b>"
                        for item in timed
                    ],
                    tickfont={"size": 13, "color": "var(--ink)"},
                    range=[len(timed) - 0.4, -0.6],
                    showgrid=False,
                    automargin=True,
                    **BESIDE,
                ),
            ),
            "narrow": {"xaxis.range": room(longest, texts, 250), "xaxis.nticks": 5},
        },
    )


def _latency_bars(
    timed: Sequence[RunTimes],
    times: Sequence[tuple[float, float, float]],
    offset: float,
    color: str,
    name: str,
) -> tuple[Spec, Spec]:
    """Bars of one network and the texts beside them."""
    lows, middles, highs = (
        [100 * three[part] / item.before[1] for item, three in zip(timed, times, strict=True)]
        for part in range(3)
    )
    rows = [round(row + offset, 2) for row in range(len(timed))]
    bars = {
        "type": "bar",
        "orientation": "h",
        "x": rounded(middles),
        "y": rows,
        "width": 0.34,
        "marker": {"color": f"var(--{color})"},
        "error_x": {
            **_error_bars(lows, middles, highs),
            "color": "var(--ink)",
            "thickness": 1.4,
            "width": 4,
        },
        "customdata": [
            f"{name}, batch {item.batch}<br>median {units.seconds(three[1])}<br>"
            f"quartiles {units.seconds(three[0])} to {units.seconds(three[2])}"
            for item, three in zip(timed, times, strict=True)
        ],
        "hovertemplate": "%{customdata}<extra></extra>",
    }
    return bars, labels(rounded(highs), rows, [f"  {units.seconds(three[1])}" for three in times])


def training_figure(
    training: Mapping[str, Sequence[float]], *, what: str = "Retraining"
) -> Figure | None:
    """One panel per column over the epochs; `what` was done in them, in a word."""
    columns = [name for name, values in training.items() if name != "epoch" and values]
    if not columns:
        return None
    panel, gap = 170, 56
    height = len(columns) * (panel + gap) + 28
    spec_layout = layout(height, margin={"l": 60, "r": 16, "t": 36, "b": 48}, annotations=[])
    inner = height - 84
    data = []
    for index, name in enumerate(columns):
        suffix = "" if index == 0 else str(index + 1)
        top = round(1 - index * (panel + gap) / inner, 4)
        data.append({**_curve(training, name), "xaxis": f"x{suffix}", "yaxis": f"y{suffix}"})
        spec_layout[f"xaxis{suffix}"] = axis(
            "epoch" if index == len(columns) - 1 else "",
            anchor=f"y{suffix}",
            showgrid=False,
            # A short training has no fractions of epochs on its axis.
            **({"dtick": 1} if len(training[name]) <= 10 else {}),
        )
        spec_layout[f"yaxis{suffix}"] = axis(
            anchor=f"x{suffix}",
            domain=[round(max(0.0, top - panel / inner), 4), top],
            tickformat=".1%" if _is_share(name, training[name]) else "",
            nticks=6,
        )
        spec_layout["annotations"].append(
            {
                "text": f"<b>{plain(shortened(name, 30))}</b>",
                "xref": "paper",
                "yref": "paper",
                "x": 0,
                "y": top,
                "xanchor": "left",
                "yanchor": "bottom",
                "yshift": 8,
                "showarrow": False,
            }
        )
    label = f"{what}: " + "; ".join(
        f"{name} from {units.score(training[name][0])} to {units.score(training[name][-1])}"
        for name in columns
    )
    return Figure(
        key="figure-training",
        label=f"{label}.",
        height=height,
        spec={"data": data, "layout": spec_layout, "narrow": {"margin.l": 48, "margin.r": 8}},
    )


def _curve(training: Mapping[str, Sequence[float]], name: str) -> Spec:
    """One column over the epochs, thinned out where it is very long."""
    values = training[name]
    epochs = training.get("epoch", ())
    if len(epochs) != len(values):
        epochs = range(1, len(values) + 1)
    # The last epoch stays, whatever the step between the shown ones.
    shown = sorted({*range(0, len(values), math.ceil(len(values) / _POINTS)), len(values) - 1})
    return {
        "type": "scatter",
        "mode": "lines+markers" if len(shown) <= 60 else "lines",
        "x": [number(epochs[step]) for step in shown],
        "y": [number(values[step]) for step in shown],
        "line": {"color": "var(--kept)", "width": 2},
        "marker": {"size": 6, "color": "var(--kept)"},
        "hovertemplate": "epoch %{x}: %{y}<extra></extra>",
    }


def _is_share(name: str, values: Sequence[float]) -> bool:
    return "accuracy" in name.lower() and all(0 <= value <= 1 for value in values)
