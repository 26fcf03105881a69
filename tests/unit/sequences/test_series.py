"""Series cut into windows: order of time, no look ahead, statistics of the training part."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from prunella.core.errors import DataError
from prunella.sequences.series import Series, next_of, windows
from prunella.sequences.task import Asked

ROWS = 200  # training rows 0 to 139, validation 140 to 169, test 170 to 199
PARTS = {"train": (0, 140), "validation": (140, 170), "test": (170, 200)}


def asked(split="train", **changes):
    return replace(Asked(split=split, data_dir=None, seed=0, count=None, length=None), **changes)


def counting(rows=ROWS):
    """Row i has the numbers i and i squared; what is to be said is i + 1."""
    numbers = np.arange(rows, dtype=np.float64)
    return Series(
        name="count",
        values=np.column_stack((numbers, numbers**2)),
        targets=next_of(numbers),
        features=("number", "square"),
        output="next number",
    )


def numbers_of(made):
    """Row of each step, and target, in units: undone by the training part's statistics."""
    train = np.arange(139, dtype=np.float64)
    rows = made.inputs[..., 0].double() * train.std() + train.mean()
    return rows.numpy(), made.in_units(made.targets)[..., 0].double().numpy()


@pytest.mark.parametrize("split", PARTS)
def test_windows_and_their_targets_lie_in_their_part_and_in_order(split):
    made = windows(counting(), asked(split), length=10)
    rows, targets = numbers_of(made)
    begin, end = PARTS[split]
    np.testing.assert_allclose(targets, rows + 1, atol=1e-3)
    assert rows.min() == pytest.approx(begin, abs=1e-3)
    assert targets.max() <= end - 1 + 1e-3
    assert (np.diff(rows, axis=1) > 0).all()
    assert made.inputs.shape[1:] == (10, 2)
    # Training windows begin every 2 rows, the others one behind the other.
    np.testing.assert_allclose(np.diff(rows[:, 0]), 2 if split == "train" else 10, atol=1e-3)


def test_standardised_by_the_training_part_alone():
    made = windows(counting(), asked(), length=1)
    torch.testing.assert_close(made.inputs.mean((0, 1)), torch.zeros(2), atol=1e-5, rtol=0)
    spread = made.inputs.std((0, 1), correction=0)
    torch.testing.assert_close(spread, torch.ones(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(made.targets.mean(), torch.tensor(0.0), atol=1e-5, rtol=0)
    test = windows(counting(), asked("test"), length=10)
    assert test.inputs[..., 0].mean() > 2
    assert (test.scale, test.shift) == (made.scale, made.shift)


def test_nothing_of_the_future_is_in_a_part():
    """Whatever comes after a part, and even the last row's own future, changes nothing in it."""
    series = counting()
    for split, (_, end) in list(PARTS.items())[:2]:
        values, targets = series.values.copy(), series.targets.copy()
        values[end:] = 1e6
        targets[end - 1 :] = 1e6  # the target of the last row is the first row of what follows
        later = replace(series, values=values, targets=targets)
        before, after = (windows(s, asked(split), length=10) for s in (series, later))
        assert torch.equal(before.inputs, after.inputs)
        assert torch.equal(before.targets, after.targets)


def test_missing_numbers_are_the_last_known_ones():
    series = counting()
    values = series.values.copy()
    values[20:23, 0] = np.nan
    values[:3, 1] = np.nan
    made = windows(replace(series, values=values), asked(), length=1)
    train = values[:139]
    filled = np.where(np.isnan(train[:, 0]), 19, train[:, 0])[3:]
    got = made.inputs[:, 0, 0].double().numpy() * filled.std() + filled.mean()
    # Rows before the first known number are left out.
    np.testing.assert_allclose(got, filled, atol=1e-3)
    assert len(made) == 136


def test_no_window_has_a_step_without_a_target():
    series = counting()
    targets = series.targets.copy()
    targets[50] = np.nan
    made = windows(replace(series, targets=targets), asked(), length=10)
    steps = set(np.round(made.in_units(made.targets).numpy()).astype(int).ravel().tolist())
    assert 51 not in steps  # it would be said in row 50
    assert {50, 52} <= steps


def test_a_constant_is_nothing():
    series = counting()
    values = series.values.copy()
    values[:140, 1] = 0.1  # whose deviation rounds to more than 0
    made = windows(replace(series, values=values), asked("test"), length=10)
    assert (made.inputs[..., 1] == 0).all()


def test_length_and_count():
    made = windows(counting(), asked(length=5, count=7, seed=1), length=10)
    assert made.inputs.shape == (7, 5, 2)
    assert (np.diff(numbers_of(made)[0][:, 0]) > 0).all()
    again = windows(counting(), asked(length=5, count=7, seed=1), length=10)
    other = windows(counting(), asked(length=5, count=7, seed=2), length=10)
    assert torch.equal(made.inputs, again.inputs)
    assert not torch.equal(made.inputs, other.inputs)


def test_what_is_too_short_is_refused():
    with pytest.raises(DataError, match=r"validation part has 29 rows and no window of 30 steps"):
        windows(counting(), asked("validation"), length=30)
    empty = replace(counting(), targets=np.full(ROWS, np.nan))
    with pytest.raises(DataError, match="no row of its training part is complete"):
        windows(empty, asked(), length=5)


def test_a_target_that_never_changes_is_refused():
    still = replace(counting(), targets=np.full(ROWS, 0.1))
    with pytest.raises(DataError, match=r"the target is 0\.1 in all rows of the training part"):
        windows(still, asked(), length=5)
