"""The channel graph: what may be removed together, found by running the model once on labels."""

from prunella.graph.labelled_run import trace
from prunella.graph.layers import with_equal_layers

__all__ = ["trace", "with_equal_layers"]
