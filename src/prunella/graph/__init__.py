"""The channel graph: what may be removed together, found by running the model once on labels."""

from prunella.graph.labelled_run import trace

__all__ = ["trace"]
