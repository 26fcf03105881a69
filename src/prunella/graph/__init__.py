"""The channel graph: what may be removed together, found by running the model once on labels."""

from prunella.graph.call import Call, rule
from prunella.graph.labelled_run import Run, trace, trace_and_run
from prunella.graph.labels import Labels
from prunella.graph.layers import with_equal_layers

__all__ = ["Call", "Labels", "Run", "rule", "trace", "trace_and_run", "with_equal_layers"]
