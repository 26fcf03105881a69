"""Tasks by name."""

from __future__ import annotations

import pytest

from prunella.core.errors import FileError, InputError
from prunella.sequences import TASKS, load


def test_every_task_is_described():
    for name, task in TASKS.items():
        assert task.name == name
        assert task.kind in ("regression", "classification")
        assert 10 < len(task.line) < 100, name
        assert task.source, name


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "labyrinth"}, "task 'labyrinth': expected one of maze10, maze18, maze27"),
        ({"split": "valid"}, "split 'valid': expected one of train, validation, test"),
        ({"seed": -1}, "with seed -1, count None and length None: expected a seed of at least 0"),
        ({"count": 0}, "at least one sequence and one step"),
        ({"length": 0}, "at least one sequence and one step"),
    ],
)
def test_what_cannot_be_asked_for(change, words):
    with pytest.raises(InputError, match=words):
        load(**{"name": "maze10", "split": "train", **change})


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileError, match="no such folder; check data_dir"):
        load("maze10", "train", data_dir=tmp_path / "none")
