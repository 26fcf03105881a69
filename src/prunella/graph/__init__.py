"""The channel graph: what may be removed together, found by running the model once on labels."""

from prunella.graph.trace import trace

__all__ = ["trace"]
