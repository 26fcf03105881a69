"""One self-contained HTML page, and the JSON file that it can be made from again."""

from prunella.report.html import render as render
from prunella.report.load import from_json as from_json
from prunella.report.load import to_json as to_json
from prunella.report.sequences import render_sequences as render_sequences
