"""Studies as one HTML page that needs no network and no other file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prunella.core.panels import Study
from prunella.report.curves import colours, panel_figures
from prunella.report.page import page


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table below the figures.

    Attributes:
        title: Above it.
        head: Of the columns.
        rows: One text for each column.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def render_studies(
    title: str, lead: str, studies: Sequence[Study], *, tables: Sequence[Table] = (), command: str
) -> str:
    """The page as text; the same studies give the same text.

    Args:
        title: Of the page.
        lead: One sentence: the answer, or what is shown.
        studies: The figures, in order.
        tables: Below them.
        command: How the page was made.
    """
    drawn = [(study, panel_figures(study), colours(study)) for study in studies]
    return page(
        "studies.html.j2",
        [figure for _, panels, _ in drawn for figure in panels],
        title=title,
        lead=lead,
        drawn=[
            (study, list(zip(study.panels, panels, strict=True)), painted)
            for study, panels, painted in drawn
        ],
        tables=tables,
        command=command,
    )
