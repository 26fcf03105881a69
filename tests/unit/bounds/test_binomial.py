"""Clopper-Pearson against sums of binomial probabilities in exact fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from prunella.bounds import clopper_pearson_lower, clopper_pearson_upper
from prunella.core.errors import InputError


def at_most(k: int, n: int, p: float) -> float:
    """P(Binomial(n, p) <= k), summed in rational arithmetic."""
    q = Fraction(p)
    return float(sum(math.comb(n, i) * q**i * (1 - q) ** (n - i) for i in range(k + 1)))


@pytest.mark.parametrize("n", [1, 2, 7, 25])
@pytest.mark.parametrize("delta", [1e-6, 0.01, 0.5])
def test_bounds_solve_the_binomial_equation(n: int, delta: float) -> None:
    for k in range(n):
        upper = clopper_pearson_upper(k, n, delta)
        assert at_most(k, n, upper) == pytest.approx(delta, rel=1e-9)
    for k in range(1, n + 1):
        lower = clopper_pearson_lower(k, n, delta)
        assert 1 - at_most(k - 1, n, lower) == pytest.approx(delta, rel=1e-8)


@pytest.mark.parametrize(("n", "delta"), [(1, 0.05), (40, 0.01), (100_000, 1e-4)])
def test_no_success_and_every_success_have_closed_forms(n: int, delta: float) -> None:
    assert clopper_pearson_upper(0, n, delta) == pytest.approx(-math.expm1(math.log(delta) / n))
    assert clopper_pearson_lower(n, n, delta) == pytest.approx(delta ** (1 / n))
    assert clopper_pearson_upper(n, n, delta) == 1.0
    assert clopper_pearson_lower(0, n, delta) == 0.0


def test_bounds_mirror_each_other_and_grow_with_the_count() -> None:
    uppers = [clopper_pearson_upper(k, 50, 0.02) for k in range(51)]
    assert uppers == sorted(uppers)
    for k, upper in enumerate(uppers):
        assert clopper_pearson_lower(50 - k, 50, 0.02) == pytest.approx(1 - upper, abs=1e-12)
        assert upper > k / 50 or k == 50


@pytest.mark.parametrize("bound", [clopper_pearson_upper, clopper_pearson_lower])
def test_errors_say_what_is_wrong(bound) -> None:
    with pytest.raises(InputError, match="n is 0; expected an integer of at least 1"):
        bound(0, 0, 0.1)
    with pytest.raises(InputError, match="successes is 6; expected an integer from 0 to 5"):
        bound(6, 5, 0.1)
    with pytest.raises(InputError, match=r"successes is 1\.5; expected an integer"):
        bound(1.5, 5, 0.1)
    for delta in (0, 1, -0.1, float("nan"), "0.1"):
        with pytest.raises(InputError, match=r"delta is .*strictly between 0 and 1"):
            bound(1, 5, delta)
