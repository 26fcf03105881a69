"""The page on a training with sequences."""

from __future__ import annotations

from prunella.core.beliefs import SequenceReport
from prunella.core.version import __version__
from prunella.report import units, words
from prunella.report.beliefs import belief_figure
from prunella.report.figures import training_figure
from prunella.report.html import asset, environment, plotly_script, script_json


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
    page = (
        environment()
        .get_template("sequences.html.j2")
        .render(
            report=report,
            beliefs=beliefs,
            training=training,
            rows=rows,
            figure_data=script_json({figure.key: figure.spec for figure in shown}),
            plotly=plotly_script() if shown else "",
            style=asset("report.css"),
            script=asset("report.js"),
            created=words.when(report.created) if report.created else "",
            version=__version__,
        )
    )
    return page.lstrip().encode("utf-8", "replace").decode("utf-8")
