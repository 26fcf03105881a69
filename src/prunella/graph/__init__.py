"""The channel graph: what may be removed together, found by running the model once on labels."""

from prunella.graph.call import Call, rule
from prunella.graph.labelled_run import Run, trace, trace_and_run
from prunella.graph.labels import Labels
from prunella.graph.layers import with_equal_layers
from prunella.graph.moves import MoveWatcher
from prunella.graph.widths import Candidate, candidates, with_widths

__all__ = [
    "Call",
    "Candidate",
    "Labels",
    "MoveWatcher",
    "Run",
    "candidates",
    "rule",
    "trace",
    "trace_and_run",
    "with_equal_layers",
    "with_widths",
]
