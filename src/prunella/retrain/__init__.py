"""Training: the one loop, its recipe, and re-estimation of batch-norm statistics."""

from prunella.retrain.batchnorm import reestimate_batchnorm
from prunella.retrain.loop import Checkpoint, EpochRecord, fit
from prunella.retrain.recipe import Recipe

__all__ = ["Checkpoint", "EpochRecord", "Recipe", "fit", "reestimate_batchnorm"]
