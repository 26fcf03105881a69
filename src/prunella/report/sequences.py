"""The page on a training with sequences."""

from __future__ import annotations

from prunella.core.beliefs import SequenceReport
from prunella.report import units, words
from prunella.report.beliefs import belief_figure
from prunella.report.figures import training_figure
from prunella.report.page import page


def render_sequences(report: SequenceReport) -> str:
    """The page as text; the same report gives the same text."""
    training = training_figure(report.curves, what="Training")
    beliefs = [
        (walk, belief_figure(walk, report.cells, key=f"figure-belief-{number}"))
        for number, walk in enumerate(report.walks, 1)
    ]
    shown = [figure for _, figure in beliefs] + ([training] if training else [])
    columns = list(report.curves.values())
    rows = [
        [units.score(column[row]) for column in columns]
        for row in range(min(map(len, columns), default=0))
    ]
    return page(
        "sequences.html.j2",
        shown,
        report=report,
        beliefs=beliefs,
        training=training,
        rows=rows,
        created=words.when(report.created) if report.created else "",
    )
