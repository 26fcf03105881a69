"""How many are kept for certain."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from prunella.core.errors import InputError
from prunella.sampling import draws_for_unique, epsilon, probabilities, split, split_channels

SCORES = hnp.arrays(
    np.float64, st.integers(1, 25), elements=st.floats(1e-3, 1, allow_subnormal=False)
)


def bound(scores, certain, draws, sums=50, delta=0.1):
    """eps of the draws among all but the largest `certain`, by the formula of the theory page."""
    total = float(np.sort(scores)[: len(scores) - certain].sum())
    return epsilon(draws, total, sums, delta) if total > 0 else 0.0


@given(scores=SCORES, draws=st.integers(1, 60))
def test_the_best_of_all_splits(scores, draws):
    found = split(scores, draws, 50, 0.1)
    tried = {k: bound(scores, k, draws - k) for k in range(min(draws, len(scores)))}
    if draws > len(scores):
        tried[len(scores)] = 0.0
    assert found.eps == pytest.approx(min(tried.values()), rel=1e-12)
    assert found.eps == pytest.approx(tried[found.certain], rel=1e-12)
    assert found.draws == (draws - found.certain if found.eps else 0)


@given(scores=SCORES, data=st.data())
def test_the_best_of_all_splits_of_channels(scores, data):
    channels = data.draw(st.integers(1, len(scores)))
    found = split_channels(scores, channels, 50, 0.1)
    if channels == len(scores):
        assert (found.certain, found.draws, found.eps) == (len(scores), 0, 0)
        return
    ordered = -np.sort(-scores)
    tried = [
        bound(scores, k, draws_for_unique(probabilities(ordered[k:]), channels - k))
        for k in range(channels)
    ]
    tried.append(float(ordered[channels:].sum()))  # nothing is drawn
    assert found.eps == pytest.approx(min(tried), rel=1e-9)
    assert found.eps == pytest.approx(tried[found.certain], rel=1e-9)
    assert found.draws >= channels - found.certain - 1e-9
    assert (found.draws > 0) == (found.certain < channels)


def test_a_channel_that_dominates_is_kept_for_certain():
    scores = np.array([0.1, 20.0, 0.1, 0.1, 0.1])
    assert split(scores, 20, 10, 0.1).certain >= 1
    # Of 3 different channels all are certain: removing 0.2 of 20.4 beats any draw.
    found = split_channels(scores, 3, 10, 0.1)
    assert (found.certain, found.eps) == (3, pytest.approx(0.2))


def test_draws_beat_removal_where_much_would_be_removed():
    scores = np.full(200, 0.5)
    found = split_channels(scores, 100, 10, 0.1)
    assert (found.certain, found.eps < 50) == (0, True)


def test_where_all_are_alike_nothing_is_gained():
    """A certain channel costs a draw and takes as much from the total as it takes from the draws;
    with many draws for each channel the total falls faster than the draws do."""
    alike = np.full(10, 0.5)
    assert split(alike, 5, 10, 0.1).certain == 0
    assert split(alike, 1000, 10, 0.1).certain == 10


def test_channels_with_score_zero_need_no_draws():
    found = split([0.5, 0.0, 0.2, 0.0], 3, 10, 0.1)
    assert (found.certain, found.draws, found.eps) == (2, 0, 0)
    found = split_channels([0.5, 0.0, 0.2, 0.0], 3, 10, 0.1)
    assert (found.certain, found.draws, found.eps) == (2, 0, 0)


def test_never_worse_than_drawing_all():
    scores = np.random.default_rng(0).gamma(0.3, size=64)
    for draws in (8, 64, 512):
        assert split(scores, draws, 1000, 0.1).eps <= bound(scores, 0, draws, 1000)
    assert math.isfinite(split(scores, 1, 1000, 0.1).eps)


def test_errors_say_what_is_wrong():
    with pytest.raises(InputError, match="draws is 0"):
        split([0.5], 0, 10, 0.1)
    with pytest.raises(InputError, match="channels is 0"):
        split_channels([0.5], 0, 10, 0.1)
    for call in (split, split_channels):
        with pytest.raises(InputError, match="every one of the 2 scores is 0"):
            call([0.0, 0.0], 1, 10, 0.1)
        with pytest.raises(InputError, match=r"scores\[0\] is -1"):
            call([-1.0, 0.0], 1, 10, 0.1)
        with pytest.raises(InputError, match="delta is 2"):
            call([1.0, 0.5], 1, 10, 2)
