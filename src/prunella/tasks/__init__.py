"""Tasks of sequences: networks with a belief or without, trained through the one loop."""

from prunella.tasks.constant import ConstantPredictor
from prunella.tasks.gated import BatchNormRNN
from prunella.tasks.networks import MazeEncoder, Predictions, SequenceNetwork
from prunella.tasks.objective import Regression, SequenceClassification
from prunella.tasks.picture import belief_walks
from prunella.tasks.prepare import (
    RECIPE,
    TaskData,
    build,
    equal_sized,
    objective_for,
    read_task,
)
from prunella.tasks.settings import Architecture
from prunella.tasks.sizes import hidden_size_for, parameter_count

__all__ = [
    "RECIPE",
    "Architecture",
    "BatchNormRNN",
    "ConstantPredictor",
    "MazeEncoder",
    "Predictions",
    "Regression",
    "SequenceClassification",
    "SequenceNetwork",
    "TaskData",
    "belief_walks",
    "build",
    "equal_sized",
    "hidden_size_for",
    "objective_for",
    "parameter_count",
    "read_task",
]
