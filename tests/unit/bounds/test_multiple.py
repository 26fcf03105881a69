"""Which hypotheses are rejected; how often wrongly is in tests/statistical."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from prunella.bounds import bonferroni, fixed_sequence, holm
from prunella.core.errors import InputError

RULES = [fixed_sequence, bonferroni, holm]


def test_a_sequence_ends_at_the_first_that_is_not_rejected() -> None:
    assert fixed_sequence([0.01, 0.002, 0.02, 0.001], 0.01).tolist() == [True, True, False, False]
    assert fixed_sequence([0.02, 0.0], 0.01).tolist() == [False, False]


def test_bonferroni_divides_by_all() -> None:
    assert bonferroni([0.005, 0.0051, 0.0], 0.015).tolist() == [True, False, True]


def test_holm_divides_by_what_is_left() -> None:
    # sorted: 0.004 <= 0.015 / 3, 0.007 <= 0.015 / 2, 0.016 > 0.015
    assert holm([0.016, 0.004, 0.007], 0.015).tolist() == [False, True, True]
    # 0.006 fails at 0.015 / 3, so that the others are not looked at
    assert holm([0.006, 0.007, 0.008], 0.015).tolist() == [False, False, False]


def test_holm_is_the_closed_test_of_bonferroni() -> None:
    """Slow definition: reject what every set of hypotheses that has it rejects by Bonferroni."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        p_values = rng.random(5) ** 4
        slow = [
            all(
                any(p_values[i] <= 0.1 / size for i in group)
                for size in range(1, 6)
                for group in itertools.combinations(range(5), size)
                if j in group
            )
            for j in range(5)
        ]
        assert holm(p_values, 0.1).tolist() == slow


@pytest.mark.parametrize("rule", RULES)
def test_edges(rule) -> None:
    assert rule([], 0.1).tolist() == []
    assert rule([0.1], 0.1).tolist() == [True]
    assert rule(np.array([1.0, 0.0]), 0.1).dtype == np.bool_


@pytest.mark.parametrize("rule", RULES)
def test_errors_say_what_is_wrong(rule) -> None:
    for wrong in ([0.1, 1.2], [-0.1], [float("nan")], [[0.1]], 0.1):
        with pytest.raises(InputError, match=r"p_values is .*expected one number from 0 to 1"):
            rule(wrong, 0.1)
    with pytest.raises(InputError, match="delta is 1"):
        rule([0.1], 1)
