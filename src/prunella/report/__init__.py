"""Self-contained HTML pages, the JSON file that a report can be made from again, and SVG files."""

from prunella.report.load import from_json as from_json
from prunella.report.load import to_json as to_json
from prunella.report.pruning import render as render
from prunella.report.sequences import render_sequences as render_sequences
from prunella.report.studies import Table as Table
from prunella.report.studies import render_studies as render_studies
from prunella.report.svg import draw_svg as draw_svg
