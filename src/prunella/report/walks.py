"""The figure and the words of a search for the smallest network."""

from __future__ import annotations

from prunella.core.walks import Step, Walk
from prunella.report import units
from prunella.report.plots import BESIDE, Figure, Spec, axis, layout, plain, rounded, shortened
from prunella.report.units import SPACE

_HEIGHT = 340


def walk_figure(walk: Walk | None) -> Figure | None:
    """Observed risk and upper bound of each tested candidate, the level, and the chosen one."""
    if walk is None or not walk.steps:
        return None
    steps = sorted(walk.steps, key=lambda step: -step.share)
    xs = [100 * step.share for step in steps]
    observed = [100 * step.observed for step in steps]
    uppers = [100 * step.upper for step in steps]
    level = 100 * walk.alpha
    chosen = [step.share == walk.chosen for step in steps]
    colors = [_color(step, walk) for step in steps]
    sure: Spec = {
        "type": "scatter",
        "mode": "markers",
        "x": rounded(xs),
        "y": rounded(uppers),
        "marker": {
            "symbol": "line-ew-open",
            "size": 14,
            "color": colors,
            "opacity": 1,
            "line": {"width": 2.5, "color": colors},
        },
        "hovertext": [f"{plain(_where(step, walk))}<br>{_found(step, walk)}" for step in steps],
        "hoverinfo": "text",
        "cliponaxis": False,
    }
    seen: Spec = {
        "type": "scatter",
        "mode": "markers",
        "x": rounded(xs),
        "y": rounded(observed),
        "marker": {
            "symbol": ["diamond" if one else "circle" for one in chosen],
            "size": [16 if one else 9 for one in chosen],
            "color": colors,
            "opacity": 1,
        },
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": rounded(high - low for low, high in zip(observed, uppers, strict=True)),
            "arrayminus": [0.0] * len(steps),
            "color": "var(--soft)",
            "thickness": 1.4,
            "width": 0,
        },
        "hoverinfo": "skip",
        "cliponaxis": False,
    }
    low, high = min(0.0, *observed), max(level, *uppers)
    room = 0.12 * (high - low)
    edge = max(4.0, 0.08 * (xs[0] - xs[-1]))
    return Figure(
        key="figure-walk",
        label=f"{walk_sentence(walk)} {_label(walk)}",
        height=_HEIGHT,
        spec={
            "data": [seen, sure],
            "layout": layout(
                _HEIGHT,
                margin={"l": 64, "r": 24, "t": 24, "b": 56},
                xaxis=axis(
                    f"kept share of the {plain(shortened(walk.unit, 20))}",
                    # From large to small, as the tests went.
                    range=rounded([xs[0] + edge, xs[-1] - edge]),
                    ticksuffix=f"{SPACE}%",
                    showgrid=False,
                    nticks=9,
                ),
                yaxis=axis(
                    range=rounded([low - room, high + room]),
                    ticksuffix=SPACE + walk.sign,
                    showticksuffix="last",
                    nticks=6,
                    automargin=True,
                    **BESIDE,
                ),
                shapes=[_line(level)],
                annotations=[_line_name(level)],
            ),
            "narrow": {"margin.r": 8, "xaxis.nticks": 5},
        },
    )


def _line(level: float) -> Spec:
    return {
        "type": "line",
        "xref": "paper",
        "x0": 0,
        "x1": 1,
        "y0": round(level, 4),
        "y1": round(level, 4),
        "line": {"color": "var(--accent)", "width": 2, "dash": "dash"},
    }


def _line_name(level: float) -> Spec:
    return {
        "text": "<b>tolerated</b>",
        "xref": "paper",
        "x": 0,
        "xanchor": "left",
        "y": round(level, 4),
        "yanchor": "bottom",
        "yshift": 3,
        "showarrow": False,
        "font": {"size": 12, "color": "var(--accent)"},
    }


def _color(step: Step, walk: Walk) -> str:
    if step.share == walk.chosen:
        return "var(--kept)"
    return "var(--before)" if step.passed else "var(--removed)"


def _where(step: Step, walk: Walk) -> str:
    return f"{units.share(step.share)} of the {walk.unit}"


def _found(step: Step, walk: Walk) -> str:
    sign = SPACE + walk.sign
    seen = f"{100 * step.observed:.2f}".replace("-", units.MINUS)
    bound = units.percent_up(step.upper)
    return f"observed {seen}{sign}, at most {bound}{sign}: {'passed' if step.passed else 'failed'}"


def _label(walk: Walk) -> str:
    tests = "; ".join(f"{_where(step, walk)}, {_found(step, walk)}" for step in walk.steps)
    return f"The tests: {tests}."


def walk_sentence(walk: Walk) -> str:
    """What the search found, in a sentence."""
    tested = f"{len(walk.steps)} of {len(walk.shares)} candidates were tested"
    claim = (
        f"{walk.claim} with {100 * (1 - walk.delta):g}{SPACE}% confidence, on {walk.samples:,} "
        "samples"
    )
    step = walk.chosen_step
    if step is None:
        return f"No network could be shown to be one with which {claim}; {tested}."
    return (
        f"The smallest network that passed keeps at most {units.share(step.share)} of the "
        f"{walk.unit}: {claim}; {tested}."
    )


def walk_rows(walk: Walk) -> list[tuple[str, ...]]:
    """Share, parameters, multiply-adds, observed risk, bound and verdict of each test, in order."""
    rows: list[tuple[str, ...]] = []
    for step in walk.steps:
        verdict = "passed" if step.passed else "failed"
        rows.append(
            (
                units.share(step.share),
                units.exact(step.cost.params),
                units.exact(step.cost.macs),
                f"{100 * step.observed:.2f}".replace("-", units.MINUS),
                units.percent_up(step.upper),
                f"{verdict}, chosen" if step.share == walk.chosen else verdict,
            )
        )
    return rows
