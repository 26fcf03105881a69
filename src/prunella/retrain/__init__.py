"""Training: the one loop, its recipe, and re-estimation of batch-norm statistics."""

from prunella.retrain.assess import assess
from prunella.retrain.batchnorm import reestimate_batchnorm
from prunella.retrain.checkpoints import Checkpoint, EpochRecord, best_epoch
from prunella.retrain.loop import Validation, fit
from prunella.retrain.objectives import Assessment, Classification, Distillation, Objective
from prunella.retrain.recipe import Recipe

__all__ = [
    "Assessment",
    "Checkpoint",
    "Classification",
    "Distillation",
    "EpochRecord",
    "Objective",
    "Recipe",
    "Validation",
    "assess",
    "best_epoch",
    "fit",
    "reestimate_batchnorm",
]
