"""The page on a pruned network."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from prunella.core.results import LayerReport, Report
from prunella.report import units, words
from prunella.report.figures import accuracy_figure, latency_figure, training_figure
from prunella.report.layers import layer_figures, score_figures
from prunella.report.page import page
from prunella.report.walks import walk_figure, walk_rows, walk_sentence


def render(report: Report) -> str:
    """The page as text; the same report gives the same text."""
    walk = walk_figure(report.walk)
    accuracy = accuracy_figure(report.accuracy)
    latency = latency_figure(report.latency)
    training = training_figure(report.training)
    layers = layer_figures(report.layers)
    scores = score_figures(report.layers)
    figures = (walk, accuracy, *layers, *scores, latency, training)
    shown = [figure for figure in figures if figure]
    return page(
        "report.html.j2",
        shown,
        report=report,
        walk=walk,
        robustness_rows=_robustness_rows(report),
        walk_rows=walk_rows(report.walk) if report.walk else [],
        walk_sentence=walk_sentence(report.walk) if report.walk else "",
        accuracy=accuracy,
        latency=latency,
        training=training,
        layers=layers,
        scores=scores,
        figures=shown,
        costs=_costs(report),
        layer_rows=[_layer_row(layer) for layer in report.layers],
        frozen=[layer for layer in report.layers if layer.reason],
        training_rows=_training_rows(report),
        words=words,
        units=units,
    )


def _costs(report: Report) -> list[tuple[str, str, str, str]]:
    before, after = report.before, report.after
    shares = after.fraction_of(before)
    rows = (
        ("Parameters", before.params, after.params, units.exact),
        ("Multiply-adds", before.macs, after.macs, units.exact),
        ("Size in memory", before.bytes, after.bytes, units.size),
    )
    return [
        (name, write(old), write(new), units.share(share))
        for (name, old, new, write), share in zip(rows, shares, strict=True)
    ]


def _layer_row(layer: LayerReport) -> tuple[str, str, str, str, str, str, str]:
    """Name, channels, kept, removed, kept share, and scores of the kept and the removed."""
    size, kept = len(layer.kept), sum(layer.kept)
    scored = zip(layer.scores, layer.kept, strict=False)
    groups: dict[bool, list[float]] = {True: [], False: []}
    for value, stays in scored:
        groups[stays].append(value)
    return (
        layer.name,
        units.exact(size),
        units.exact(kept),
        units.exact(size - kept),
        units.share(kept / size if size else 1.0),
        _span(groups[True]),
        _span(groups[False]),
    )


def _span(values: Sequence[float]) -> str:
    """Lowest, median and highest."""
    if not values:
        return ""
    three = min(values), statistics.median(values), max(values)
    return " / ".join(units.score(value) for value in three)


def _robustness_rows(report: Report) -> list[tuple[str, ...]]:
    rows = report.robustness.rows if report.robustness is not None else ()
    return [
        (
            row.name,
            *(
                "" if share is None else units.share(share)
                for share in (row.disagreement, row.original, row.small)
            ),
        )
        for row in rows
    ]


def _training_rows(report: Report) -> list[list[str]]:
    """The last value and the best one can be read off the figure; the table has all of them."""
    columns = list(report.training.values())
    length = max(map(len, columns), default=0)
    return [
        [units.score(column[row]) if row < len(column) else "" for column in columns]
        for row in range(length)
    ]
