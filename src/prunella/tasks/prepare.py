"""A task of sequences made ready for the training loop: samples, network, objective."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from prunella.retrain import Objective, Recipe, Validation
from prunella.sequences import TASKS, Maze, SequenceSet, load
from prunella.sequences.task import Split
from prunella.tasks.networks import MazeEncoder, SequenceNetwork, core_of
from prunella.tasks.objective import Regression, SequenceClassification
from prunella.tasks.settings import Architecture
from prunella.tasks.sizes import hidden_size_for, parameter_count

# Spec of the paper's code for the maze: constant rate, gradients cut to a norm of 3.
RECIPE = Recipe(
    epochs=20,
    learning_rate=5e-4,
    weight_decay=0.0,
    optimizer="rmsprop",
    schedule="constant",
    clip=3.0,
)
_HELD_OUT = 1_000  # walks for validation and test, at most, as in the paper
_WORD = 64  # numbers that stand for a word
_BATCH = 500  # sequences at once where nothing is learnt


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TaskData:
    """The samples of a task.

    Attributes:
        train: To learn from.
        validation: To choose the best epoch with.
        test: To judge the result.
        maze: The map, of a maze.
    """

    train: SequenceSet
    validation: SequenceSet
    test: SequenceSet
    maze: Maze | None = None

    @property
    def figure(self) -> str:
        """The figure that the best epoch is chosen by."""
        if self.train.classes:
            return "accuracy"
        return "loss_last" if self.maze is not None else "mse"

    def selection(self) -> Validation:
        """How the best epoch is found."""
        loader = self.validation.loader(_BATCH)
        return Validation(loader=loader, figure=self.figure, largest=self.train.classes)


def read_task(
    name: str,
    *,
    seed: int = 0,
    sequences: int | None = None,
    steps: int | None = None,
    data_dir: Path | None = None,
) -> TaskData:
    """The samples of a task by name.

    Args:
        name: See `prunella.sequences.TASKS`.
        seed: Of what is drawn.
        sequences: To learn from, at most; for validation there are a fourth of them then, for the
            test as many, both at most 1,000. None = the task's own numbers.
        steps: Of a sequence; None = the task's own number.
        data_dir: Folder with the files of the task, where it needs any.

    Raises:
        InputError: there is no such task, or a number is below 1.
        FileError: files are missing or damaged.
    """

    def part(split: Split, count: int | None) -> SequenceSet:
        return load(name, split, data_dir=data_dir, seed=seed, count=count, length=steps)

    few = None if sequences is None else min(_HELD_OUT, max(sequences // 4, 1))
    many = None if sequences is None else min(_HELD_OUT, sequences)
    train, validation, test = part("train", sequences), part("validation", few), part("test", many)
    made = TASKS[name].maze
    maze = None if made is None else made()
    return TaskData(train=train, validation=validation, test=test, maze=maze)


def build(architecture: Architecture, data: TaskData) -> SequenceNetwork:
    """A network for a task; its weights are drawn from torch's global generator."""
    samples = data.train
    encoder: nn.Module
    if data.maze is not None:
        encoder, inputs = MazeEncoder(data.maze), MazeEncoder.outputs
    elif samples.inputs.dtype == torch.int64:
        encoder, inputs = nn.Embedding(len(samples.features), _WORD), _WORD
    else:
        encoder, inputs = nn.Identity(), len(samples.features)
    return SequenceNetwork(
        encoder,
        core_of(architecture, inputs),
        len(samples.outputs),
        dropout=architecture.dropout,
        bounded=data.maze is not None,
        last=samples.targets.ndim < 3,
        every_particle=architecture.beta > 0,
    )


def objective_for(architecture: Architecture, data: TaskData) -> Objective:
    """The objective of a task.

    In a maze labels lie one cell around a particle's place, later steps count more (as in the
    public code, exp(0.1 t)), and the heading's squared error counts a tenth of the place's. Else
    labels have a standard deviation of 1 in the scale of the targets.
    """
    samples, beta = data.train, architecture.beta
    if samples.classes:
        return SequenceClassification(beta=beta)
    outputs = len(samples.outputs)
    if data.maze is None:
        return Regression(
            scale=samples.scale, sigma=(1.0,) * outputs, judged=outputs, growth=0.0, beta=beta
        )
    cell = (1 / data.maze.width, 1 / data.maze.height)
    heading = (10**0.5 / data.maze.width,) * (outputs - 2)
    return Regression(scale=samples.scale, sigma=(*cell, *heading), judged=2, growth=0.1, beta=beta)


def equal_sized(
    architecture: Architecture, data: TaskData, reference: Architecture
) -> Architecture:
    """The architecture with the hidden size that comes nearest to a reference's parameters.

    Parameters are those of the whole network, encoder and head included.
    """

    def sized(hidden: int) -> Architecture:
        return architecture.model_copy(update={"hidden": hidden})

    with torch.random.fork_rng():
        wanted = parameter_count(build(reference, data))
        return sized(hidden_size_for(wanted, lambda hidden: build(sized(hidden), data)))
