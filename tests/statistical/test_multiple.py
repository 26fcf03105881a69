"""The probability of any false rejection among candidates judged on the same samples."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from prunella.bounds import (
    bonferroni,
    clopper_pearson_p_value,
    fixed_sequence,
    holm,
    paired_difference_p_value,
)

CANDIDATES = 30
DRAWS = 2000
SAMPLES = 400
LEVEL = 0.05
DELTA = 0.1


def wrong_too_often(wrong: NDArray[np.bool_], delta: float = DELTA) -> bool:
    return bool(wrong.mean() > delta + 3 * math.sqrt(delta * (1 - delta) / wrong.size))


def losses(
    risks: NDArray[np.float64], shared: float, rng: np.random.Generator, draws: int
) -> NDArray[np.int64]:
    """Wrong answers of each candidate in each draw, (draws, candidates).

    All candidates see the same samples. Each is wrong on a sample if a number is below its risk;
    that number is the sample's own with probability `shared`, else one of the pair's.
    """
    counts = np.empty((draws, len(risks)), dtype=np.int64)
    for row in counts:
        common = rng.random((SAMPLES, 1))
        own = rng.random((SAMPLES, len(risks)))
        row[:] = (np.where(rng.random(own.shape) < shared, common, own) < risks).sum(0)
    return counts


WALKS = {
    "from safe to unsafe": np.linspace(0.01, 0.1, CANDIDATES),
    "all just unsafe": np.full(CANDIDATES, LEVEL + 1e-6),
    "safe, then all just unsafe": np.where(np.arange(CANDIDATES) < 3, 0.01, LEVEL + 1e-6),
    "back and forth": np.where(np.arange(CANDIDATES) % 2, LEVEL + 1e-6, 0.02),
}


SHARES = [0.0, 0.7, 1.0]


@cache
def walk(name: str, shared: float) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """P-values (draws, candidates), and which hypotheses are true."""
    table = np.array([clopper_pearson_p_value(k, SAMPLES, LEVEL) for k in range(SAMPLES + 1)])
    counts = losses(WALKS[name], shared, np.random.default_rng(5), DRAWS)
    return table[counts], WALKS[name] > LEVEL


@pytest.mark.parametrize("shared", SHARES)
@pytest.mark.parametrize("name", WALKS)
@pytest.mark.parametrize("rule", [fixed_sequence, bonferroni, holm])
def test_any_false_rejection_is_rare(name: str, shared: float, rule) -> None:
    p_values, true = walk(name, shared)
    wrong = np.array([(rule(row, DELTA) & true).any() for row in p_values])
    assert not wrong_too_often(wrong)


@pytest.mark.parametrize("shared", SHARES)
def test_a_sequence_goes_further_than_bonferroni(shared: float) -> None:
    p_values, _ = walk("from safe to unsafe", shared)
    passed = {
        rule: np.mean([rule(row, DELTA).sum() for row in p_values])
        for rule in (fixed_sequence, holm, bonferroni)
    }
    assert passed[fixed_sequence] > passed[holm] >= passed[bonferroni] > 1


@pytest.mark.parametrize("shared", [0.0, 0.7])
@pytest.mark.parametrize("name", ["all just unsafe", "safe, then all just unsafe"])
def test_check_finds_tests_without_correction_and_a_walk_that_does_not_stop(
    name: str, shared: float
) -> None:
    p_values, true = walk(name, shared)
    assert wrong_too_often(((p_values <= DELTA) & true).any(1))


@cache
def drop_p_value(plus: int, minus: int) -> float:
    return paired_difference_p_value(plus, minus, SAMPLES, 0.02)


def test_a_walk_over_drops_of_accuracy() -> None:
    """Paired differences of 12 candidates; all but the first three drop by a little too much."""
    rng = np.random.default_rng(6)
    up = np.where(np.arange(12) < 3, 0.005, 0.035 + 1e-6)
    wrong = np.empty(1000, dtype=np.bool_)
    for draw in range(wrong.size):
        common, own = rng.random((SAMPLES, 1)), rng.random((SAMPLES, 12))
        mixed = np.where(rng.random(own.shape) < 0.6, common, own)
        plus, minus = (mixed < up).sum(0), (mixed > 1 - 0.015).sum(0)
        p_values = [drop_p_value(int(a), int(b)) for a, b in zip(plus, minus, strict=True)]
        wrong[draw] = fixed_sequence(p_values, DELTA)[3:].any()
    assert not wrong_too_often(wrong)
    assert wrong.mean() > DELTA / 4  # and it does reject
