"""Ranks against brute-force binomial sums."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from prunella.bounds import conformal_rank, samples_needed, tolerance_limit, tolerance_rank
from prunella.core.errors import InputError


def brute_force_rank(n: int, alpha: Fraction, delta: Fraction) -> int | None:
    mass = Fraction(0)
    for k in range(1, n + 1):
        mass += math.comb(n, k - 1) * (1 - alpha) ** (k - 1) * alpha ** (n - k + 1)
        if mass >= 1 - delta:
            return k
    return None


@pytest.mark.parametrize("alpha", ["0.05", "0.1", "0.3", "0.5", "0.9"])
@pytest.mark.parametrize("delta", ["0.001", "0.01", "0.1", "0.25", "0.7"])
def test_rank_is_the_smallest_with_enough_mass(alpha: str, delta: str) -> None:
    for n in range(1, 41):
        expected = brute_force_rank(n, Fraction(alpha), Fraction(delta))
        assert tolerance_rank(n, float(alpha), float(delta)) == expected, n


@pytest.mark.parametrize("alpha", [0.001, 0.05, 0.2, 0.5, 0.99])
@pytest.mark.parametrize("delta", [1e-9, 0.01, 0.25, 0.9])
def test_samples_needed_is_the_first_n_with_a_rank(alpha: float, delta: float) -> None:
    n = samples_needed(alpha, delta)
    assert tolerance_rank(n, alpha, delta) == n
    assert n == 1 or tolerance_rank(n - 1, alpha, delta) is None


def test_known_values() -> None:
    assert samples_needed(0.05, 0.05) == 59  # the classical 95 % / 95 % tolerance limit
    assert samples_needed(0.05, 0.01) == 90
    assert samples_needed(0.5, 0.25) == 2


def test_limit_is_the_order_statistic_with_ties_and_infinity() -> None:
    values = [3.0, 1.0, 1.0, math.inf, 2.0]
    rank = tolerance_rank(5, 0.5, 0.3)
    assert rank == 4
    assert tolerance_limit(values, 0.5, 0.3) == 3.0
    assert tolerance_limit(values, 0.5, 0.05) == math.inf
    assert tolerance_limit(values, 0.05, 0.01) is None


def test_conformal_rank_reads_decimal_numbers() -> None:
    assert conformal_rank(19, 0.05) == 19
    assert conformal_rank(18, 0.05) is None
    assert conformal_rank(9, 0.3) == 7
    for n in range(1, 200):
        expected = math.ceil((n + 1) * Fraction(9, 10))
        assert conformal_rank(n, 0.1) == (expected if expected <= n else None)


def test_errors_say_what_is_wrong() -> None:
    for call in (tolerance_rank, lambda n, a, d: conformal_rank(n, a)):
        with pytest.raises(InputError, match="alpha is 1"):
            call(10, 1.0, 0.1)
        with pytest.raises(InputError, match="n is 0"):
            call(0, 0.1, 0.1)
    with pytest.raises(InputError, match="delta is 0"):
        samples_needed(0.1, 0)
    with pytest.raises(InputError, match=r"values has shape \(0,\)"):
        tolerance_limit([], 0.1, 0.1)
    with pytest.raises(InputError, match=r"values has shape \(1, 2\)"):
        tolerance_limit([[1.0, 2.0]], 0.1, 0.1)
    with pytest.raises(InputError, match="1 NaN among 2"):
        tolerance_limit([1.0, math.nan], 0.1, 0.1)
