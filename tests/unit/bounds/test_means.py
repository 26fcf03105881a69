"""Bounds for means: closed forms, and the paired test against enumeration."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prunella.bounds import (
    betting_upper,
    clopper_pearson_difference_upper,
    clopper_pearson_upper,
    empirical_bernstein_upper,
    hoeffding_bentkus_upper,
    hoeffding_upper,
    paired_difference_upper,
)
from prunella.bounds.paired import tail
from prunella.core.errors import InputError

PAIRED = [paired_difference_upper, clopper_pearson_difference_upper]


def brute_force_tail(total: int, n: int, drop: float, discordance: float) -> float:
    """P(sum <= total) by repeated convolution of the three probabilities."""
    one = np.array([(discordance - drop) / 2, 1 - discordance, (discordance + drop) / 2])
    law = np.array([1.0])
    for _ in range(n):
        law = np.convolve(law, one)
    return float(law[: max(total + n + 1, 0)].sum())


@pytest.mark.parametrize("n", [1, 3, 30])
@pytest.mark.parametrize("discordance", [1e-4, 0.1, 0.5])
@pytest.mark.parametrize("share", [-1.0, -0.3, 0.0, 0.7, 1.0])
def test_tail_is_the_trinomial_tail(n: int, discordance: float, share: float) -> None:
    for total in range(-n - 1, n + 1):
        exact = brute_force_tail(total, n, share * discordance, discordance)
        assert tail(total, n, share * discordance, discordance) == pytest.approx(
            exact, rel=1e-9, abs=1e-14
        )


@pytest.mark.parametrize("n", [2, 3, 5, 8, 15])
def test_tail_grows_with_the_discordance_where_the_proof_says_so(n: int) -> None:
    for total in range(-n, n):
        for drop in np.linspace(-0.5, 0.5, 41):
            if drop < (total + 1) / (n - 1):
                continue
            grid = np.linspace(abs(drop), 0.5, 30)
            tails = [brute_force_tail(total, n, drop, discordance) for discordance in grid]
            assert np.all(np.diff(tails) >= -1e-14), (total, drop)


@pytest.mark.parametrize("n", [1, 2, 4, 6])
@pytest.mark.parametrize("delta", [0.05, 0.3])
@pytest.mark.parametrize("bound", PAIRED)
def test_exact_error_probability_is_at_most_delta(n: int, delta: float, bound) -> None:
    """Every outcome of every population on a grid is enumerated: no simulation noise."""
    uppers = {
        (plus, minus): bound(plus, minus, n, delta)
        for plus in range(n + 1)
        for minus in range(n + 1 - plus)
    }
    weights = {
        (plus, minus): math.comb(n, plus) * math.comb(n - plus, minus) for plus, minus in uppers
    }
    for up in np.linspace(0, 1, 21):
        for down in np.linspace(0, 1 - up, 11):
            zero = max(1 - up - down, 0.0)
            wrong = sum(
                weights[key] * up ** key[0] * down ** key[1] * zero ** (n - sum(key))
                for key, upper in uppers.items()
                if upper < up - down - 1e-12
            )
            assert wrong <= delta + 1e-12, (up, down)


@settings(max_examples=60, deadline=None)
@given(n=st.integers(2, 400), data=st.data())
def test_paired_bound_is_sane(n: int, data: st.DataObject) -> None:
    plus = data.draw(st.integers(0, n))
    minus = data.draw(st.integers(0, n - plus))
    delta = data.draw(st.sampled_from([1e-4, 0.01, 0.2]))
    upper = paired_difference_upper(plus, minus, n, delta)
    assert (plus - minus) / n < upper <= 1 or plus == n
    assert upper <= paired_difference_upper(plus, minus, n, delta / 10) + 1e-9
    if plus < n - minus:
        assert upper <= paired_difference_upper(plus + 1, minus, n, delta) + 1e-9


def test_paired_bound_survives_extreme_counts() -> None:
    assert paired_difference_upper(0, 0, 1, 0.1) == 1.0
    assert paired_difference_upper(50, 0, 50, 0.01) == 1.0
    assert -1 <= paired_difference_upper(0, 5000, 5000, 0.01) < 0
    assert 0 < paired_difference_upper(0, 0, 1_000_000, 0.01) < 1e-5
    wide = paired_difference_upper(30_000, 20_000, 1_000_000, 0.01)
    assert wide == pytest.approx(0.01, abs=6e-4)


def test_difference_of_clopper_pearson_bounds() -> None:
    assert clopper_pearson_difference_upper(7, 0, 90, 0.02) == clopper_pearson_upper(7, 90, 0.01)


def test_hoeffding_closed_form() -> None:
    assert hoeffding_upper(0.1, 200, 0.05, -1, 1) == pytest.approx(
        0.1 + 2 * math.sqrt(math.log(20) / 400)
    )
    assert hoeffding_upper(0.9, 10, 0.05, 0, 1) == 1


def test_empirical_bernstein_closed_form() -> None:
    values = [0.0, 0.5, 1.0, 0.5] * 50
    weight = math.log(2 / 0.05)
    expected = 0.5 + math.sqrt(2 * (25 / 199) * weight / 200) + 7 * weight / (3 * 199)
    assert empirical_bernstein_upper(values, 0.05, 0, 1) == pytest.approx(expected)
    wide = empirical_bernstein_upper(10 * np.array(values) - 4, 0.05, -4, 6)
    assert wide == pytest.approx(10 * expected - 4)
    assert empirical_bernstein_upper([0.2], 0.05, 0, 1) == 1
    assert empirical_bernstein_upper([0.0, 1.0], 0.05, 0, 1) == 1


def test_hoeffding_bentkus_is_no_wider_than_hoeffding_and_close_to_exact_for_rare_events() -> None:
    for mean in (0.0, 0.01, 0.3, 0.9, 1.0):
        for n in (1, 30, 5000):
            found = hoeffding_bentkus_upper(mean, n, 0.01, 0, 1)
            assert mean < found <= hoeffding_upper(mean, n, 0.01, 0, 1) + 1e-9 or mean == 1
    exact = clopper_pearson_upper(50, 5000, 0.01)
    assert exact < hoeffding_bentkus_upper(0.01, 5000, 0.01, 0, 1) < 1.06 * exact
    # the divergence alone decides there, and has a solution by hand
    assert hoeffding_bentkus_upper(0, 100, 0.01, 0, 1) == pytest.approx(1 - 0.01 ** (1 / 100))
    assert hoeffding_bentkus_upper(0, 100, 0.01, -2, 2) == pytest.approx(
        4 * hoeffding_bentkus_upper(0.5, 100, 0.01, 0, 1) - 2
    )


def test_betting_scales_with_the_range_and_bounds_the_mean() -> None:
    rng = np.random.default_rng(3)
    values = rng.beta(2, 30, size=300)
    upper = betting_upper(values, 0.05, 0, 1)
    assert values.mean() < upper < hoeffding_upper(values.mean(), 300, 0.05, 0, 1)
    assert betting_upper(10 * values - 4, 0.05, -4, 6) == pytest.approx(10 * upper - 4, abs=1e-7)
    assert betting_upper(np.ones(50), 0.05, 0, 1) == 1.0
    assert betting_upper([0.5], 0.05, 0, 1) == 1.0


@pytest.mark.parametrize("bound", PAIRED)
def test_paired_errors_say_what_is_wrong(bound) -> None:
    with pytest.raises(InputError, match="minus is 6; expected an integer from 0 to 5"):
        bound(5, 6, 10, 0.1)
    with pytest.raises(InputError, match="plus is -1"):
        bound(-1, 0, 10, 0.1)
    with pytest.raises(InputError, match="n is 0"):
        bound(0, 0, 0, 0.1)
    with pytest.raises(InputError, match="delta is 1"):
        bound(0, 0, 10, 1)


def test_mean_errors_say_what_is_wrong() -> None:
    with pytest.raises(InputError, match=r"mean is 2, outside of \[0, 1\]"):
        hoeffding_upper(2, 10, 0.1, 0, 1)
    with pytest.raises(InputError, match=r"the range is \[1, 0\]"):
        hoeffding_upper(0.5, 10, 0.1, 1, 0)
    with pytest.raises(InputError, match="values run from 0 to 3, outside"):
        betting_upper([0.0, 3.0], 0.1, 0, 1)
    with pytest.raises(InputError, match="NaN"):
        betting_upper([0.0, math.nan], 0.1, 0, 1)
    with pytest.raises(InputError, match="the range is"):
        betting_upper([0.0, 1.0], 0.1, 0, math.inf)
