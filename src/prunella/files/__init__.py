"""Everything that is read from or written to disk: atomic, without pickle, with clear errors."""

from prunella.files.atomic import write_atomically
from prunella.files.models import load, load_plan, save
from prunella.files.optimizers import load_optimizer, save_optimizer
from prunella.files.passes import PassFile
from prunella.files.weights import load_weights, save_weights

__all__ = [
    "PassFile",
    "load",
    "load_optimizer",
    "load_plan",
    "load_weights",
    "save",
    "save_optimizer",
    "save_weights",
    "write_atomically",
]
