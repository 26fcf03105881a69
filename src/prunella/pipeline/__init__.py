"""The whole job in order; the only place that knows which stage follows which."""

from prunella.pipeline.job import NoStages, Stages, prune
from prunella.pipeline.repairing import repaired
from prunella.pipeline.result import PruneResult
from prunella.pipeline.shrink import smallest

__all__ = ["NoStages", "PruneResult", "Stages", "prune", "repaired", "smallest"]
