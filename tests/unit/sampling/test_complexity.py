"""Number of draws and error are each other's inverse."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prunella.core.errors import InputError
from prunella.sampling import epsilon, sample_complexity

TOTAL = st.floats(1e-3, 1e5)
SUMS = st.integers(1, 10**9)
DELTA = st.floats(1e-12, 0.999)
CONSTANT = st.floats(0.1, 1e3)


@given(st.floats(1e-6, 1e6), TOTAL, SUMS, DELTA, CONSTANT)
def test_inverse(eps: float, total: float, sums: int, delta: float, constant: float) -> None:
    draws = sample_complexity(eps, total, sums, delta, constant)
    assert epsilon(draws, total, sums, delta, constant) == pytest.approx(eps, rel=1e-9)


@given(st.floats(1e-3, 1e9), TOTAL, SUMS, DELTA, CONSTANT)
def test_inverse_the_other_way_and_monotone(
    draws: float, total: float, sums: int, delta: float, constant: float
) -> None:
    eps = epsilon(draws, total, sums, delta, constant)
    assert sample_complexity(eps, total, sums, delta, constant) == pytest.approx(draws, rel=1e-9)
    assert epsilon(2 * draws, total, sums, delta, constant) < eps
    assert epsilon(draws, 2 * total, sums, delta, constant) > eps
    assert epsilon(draws, total, 2 * sums, delta, constant) > eps
    assert epsilon(draws, total, sums, delta / 2, constant) > eps
    assert epsilon(draws, total, sums, delta, 2 * constant) > eps


def test_the_inverse_is_the_formula_of_the_theory_page() -> None:
    a = 1.5 * 20 * math.log(2 * 300 / 0.01)
    expected = (a + math.sqrt(a * a + 18 * 64 * a)) / (3 * 64)
    assert epsilon(64, 20, 300, 0.01, 1.5) == pytest.approx(expected, rel=1e-14)


def test_errors_say_what_is_wrong() -> None:
    for call in (sample_complexity, epsilon):
        with pytest.raises(InputError, match="is 0; expected a finite number greater than 0"):
            call(0, 1.0, 1, 0.1)
        with pytest.raises(InputError, match="total is inf"):
            call(1.0, math.inf, 1, 0.1)
        with pytest.raises(InputError, match="sums is 0"):
            call(1.0, 1.0, 0, 0.1)
        with pytest.raises(InputError, match="delta is 1"):
            call(1.0, 1.0, 1, 1)
        with pytest.raises(InputError, match="constant is -1"):
            call(1.0, 1.0, 1, 0.1, -1)
