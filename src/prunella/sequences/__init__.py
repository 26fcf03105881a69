"""Sequences and what is to be predicted from them: a maze, market and sensor series, texts."""

from prunella.sequences.bayes import bayes_means
from prunella.sequences.maze import Maze, generate_maze, maze_of, standard_maze
from prunella.sequences.sets import SequenceSet
from prunella.sequences.sources import TASKS, load
from prunella.sequences.task import Task
from prunella.sequences.walks import Walks, walk, walk_set

__all__ = [
    "TASKS",
    "Maze",
    "SequenceSet",
    "Task",
    "Walks",
    "bayes_means",
    "generate_maze",
    "load",
    "maze_of",
    "standard_maze",
    "walk",
    "walk_set",
]
