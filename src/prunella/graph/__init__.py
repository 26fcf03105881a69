"""The channel graph: what may be removed together, found by running the model once on labels."""

from prunella.graph.call import Call, rule
from prunella.graph.labelled_run import trace
from prunella.graph.labels import Labels

__all__ = ["Call", "Labels", "rule", "trace"]
