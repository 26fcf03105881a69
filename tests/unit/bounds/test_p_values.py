"""P-values: closed forms, agreement with their bounds, and exact error probabilities."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from prunella.bounds import (
    betting_p_value,
    betting_upper,
    clopper_pearson_p_value,
    clopper_pearson_upper,
    hoeffding_bentkus_p_value,
    hoeffding_bentkus_upper,
    paired_difference_p_value,
    paired_difference_upper,
)
from prunella.core.errors import InputError


def agrees(p_value: float, level: float, upper: Callable[[float], float]) -> None:
    """The bound at a little more than the p-value is at most the level; at a little less it is not.

    Bounds are rounded up by at most 1e-10.
    """
    if p_value < 1 - 1e-6:
        assert upper(min(p_value * (1 + 1e-6), 1 - 1e-9)) <= level + 2e-10
    if p_value > 1e-290:
        assert upper(min(p_value, 1 - 1e-9) * (1 - 1e-6)) >= level - 1e-12


@settings(max_examples=100, deadline=None)
@given(n=st.integers(1, 3000), share=st.floats(0, 1), level=st.floats(1e-4, 0.999))
def test_clopper_pearson_agrees_with_its_bound(n: int, share: float, level: float) -> None:
    successes = round(share * n)
    p_value = clopper_pearson_p_value(successes, n, level)
    assert p_value == pytest.approx(stats.binom.cdf(successes, n, level), rel=1e-9)
    if 1e-12 < p_value < 1 - 1e-9:
        agrees(p_value, level, lambda delta: clopper_pearson_upper(successes, n, delta))


@settings(max_examples=100, deadline=None)
@given(n=st.integers(1, 400), data=st.data())
def test_paired_difference_agrees_with_its_bound(n: int, data: st.DataObject) -> None:
    plus = data.draw(st.integers(0, n))
    minus = data.draw(st.integers(0, n - plus))
    level = data.draw(st.floats(-1, 0.999))
    p_value = paired_difference_p_value(plus, minus, n, level)
    if p_value > 1e-12:
        agrees(p_value, level, lambda delta: paired_difference_upper(plus, minus, n, delta))


@settings(max_examples=100, deadline=None)
@given(n=st.integers(1, 3000), mean=st.floats(0, 1), level=st.floats(0, 0.999))
def test_hoeffding_bentkus_agrees_with_its_bound(n: int, mean: float, level: float) -> None:
    p_value = hoeffding_bentkus_p_value(mean, n, level)
    if level <= mean:
        assert p_value == 1
    if 1e-12 < p_value < 1 - 1e-9:
        agrees(p_value, level, lambda delta: hoeffding_bentkus_upper(mean, n, delta, 0, 1))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 999), n=st.integers(1, 300), delta=st.sampled_from([0.001, 0.01, 0.1]))
def test_betting_rejects_where_its_bound_does(seed: int, n: int, delta: float) -> None:
    values = np.random.default_rng(seed).beta(0.3, 2, size=n)
    upper = betting_upper(values, delta, 0, 1)
    if upper < 1:
        assert betting_p_value(values, upper + 1e-9, delta=delta) <= delta
    assert betting_p_value(values, upper - 1e-9, delta=delta) > delta


def test_hoeffding_bentkus_closed_forms() -> None:
    # many events: the binomial part decides; few: the divergence
    many = math.e * stats.binom.cdf(50, 5000, 0.0144)
    assert hoeffding_bentkus_p_value(50 / 5000, 5000, 0.0144) == pytest.approx(many, rel=1e-12)
    divergence = 0.02 * math.log(0.02 / 0.2) + 0.98 * math.log(0.98 / 0.8)
    few = math.exp(-50 * divergence)
    assert few < math.e * stats.binom.cdf(1, 50, 0.2)
    assert hoeffding_bentkus_p_value(1 / 50, 50, 0.2) == pytest.approx(few, rel=1e-12)
    # a sum between two whole numbers counts as the larger
    assert hoeffding_bentkus_p_value(49.2 / 5000, 5000, 0.0144) == pytest.approx(many, rel=1e-12)


def test_ranges_are_scaled_to_one() -> None:
    values = np.random.default_rng(1).random(80)
    assert betting_p_value(10 * values - 4, 3.0, -4, 6) == pytest.approx(
        betting_p_value(values, 0.7), rel=1e-9
    )
    assert hoeffding_bentkus_p_value(0, 80, 3.0, -4, 6) == pytest.approx(
        hoeffding_bentkus_p_value(0.4, 80, 0.7), rel=1e-9
    )


@pytest.mark.parametrize("n", [1, 2, 4, 6])
@pytest.mark.parametrize("level", [-0.3, 0.0, 0.2])
def test_exact_error_probability_of_the_paired_p_value(n: int, level: float) -> None:
    """Every outcome of every population of a mean above the level, without simulation noise."""
    found = {
        (plus, minus): paired_difference_p_value(plus, minus, n, level)
        for plus in range(n + 1)
        for minus in range(n + 1 - plus)
    }
    ways = {(a, b): math.comb(n, a) * math.comb(n - a, b) for a, b in found}
    for up in np.linspace(0, 1, 21):
        for down in np.linspace(0, 1 - up, 11):
            if up - down < level + 1e-9:
                continue
            zero = max(1 - up - down, 0.0)
            chance = {k: ways[k] * up ** k[0] * down ** k[1] * zero ** (n - sum(k)) for k in found}
            for delta in (0.01, 0.05, 0.3, 0.8):
                wrong = sum(chance[key] for key, p_value in found.items() if p_value <= delta)
                assert wrong <= delta + 1e-12, (up, down, delta)


def test_p_values_of_extreme_counts() -> None:
    assert clopper_pearson_p_value(10, 10, 0.5) == 1
    assert paired_difference_p_value(1, 0, 1, 0.9) == 1
    assert paired_difference_p_value(50, 0, 50, 0.9) == 1
    assert paired_difference_p_value(0, 5000, 5000, 0.5) < 1e-9
    assert hoeffding_bentkus_p_value(1, 10, 0.5) == 1
    assert hoeffding_bentkus_p_value(0, 10, 0) == 1
    assert betting_p_value([0.0], 0.0) == 1
    assert betting_p_value(np.ones(50), 0.5) == 1


def test_errors_say_what_is_wrong() -> None:
    with pytest.raises(InputError, match="level is 1; expected a number strictly between"):
        clopper_pearson_p_value(1, 10, 1)
    with pytest.raises(InputError, match="level is 1; expected a number from -1 to below 1"):
        paired_difference_p_value(1, 1, 10, 1)
    with pytest.raises(InputError, match="level is 6; expected a number from -4 to below 6"):
        hoeffding_bentkus_p_value(0, 10, 6, -4, 6)
    with pytest.raises(InputError, match="level is nan"):
        betting_p_value([0.5], math.nan)
    with pytest.raises(InputError, match="minus is 6; expected an integer from 0 to 5"):
        paired_difference_p_value(5, 6, 10, 0)
    with pytest.raises(InputError, match=r"mean is 2, outside of \[0, 1\]"):
        hoeffding_bentkus_p_value(2, 10, 0.5)
    with pytest.raises(InputError, match="values run from 0 to 3, outside"):
        betting_p_value([0.0, 3.0], 0.5)
    with pytest.raises(InputError, match="delta is 0"):
        betting_p_value([0.0, 1.0], 0.5, delta=0)
