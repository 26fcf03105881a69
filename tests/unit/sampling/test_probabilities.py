"""Sampling probabilities and the expected number of different channels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from prunella.core.errors import InputError
from prunella.sampling import draws_for_unique, expected_unique, probabilities

SCORES = hnp.arrays(
    np.float64, st.integers(1, 40), elements=st.floats(0, 1, allow_subnormal=False)
).filter(lambda a: a.max() > 0)


@given(SCORES, st.floats(1e-200, 1e200))
def test_probabilities_are_proportional_whatever_the_unit(scores, unit: float) -> None:
    p = probabilities(scores * unit) if (scores * unit).max() > 0 else probabilities(scores)
    assert p.sum() == pytest.approx(1)
    assert np.all(p >= 0)
    assert p[scores.argmax()] == pytest.approx(p.max())  # near-ties may swap
    np.testing.assert_allclose(probabilities([1e308, 1e308, 0]), [0.5, 0.5, 0])
    np.testing.assert_allclose(probabilities([1e-320, 1e-320]), [0.5, 0.5])


@settings(max_examples=25, deadline=None, derandomize=True)
@given(SCORES, st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_expected_unique_agrees_with_drawing(scores, draws: int, seed: int) -> None:
    p = probabilities(scores)
    counts = np.random.default_rng(seed).multinomial(draws, p / p.sum(), size=4000)
    unique = (counts > 0).sum(axis=1)
    error = max(unique.std(ddof=1), 0.02) / math.sqrt(len(unique))
    assert abs(unique.mean() - expected_unique(p, draws)) <= 4 * error + 1e-9


@given(SCORES, st.floats(0, 1e6), st.floats(0, 1e6))
def test_expected_unique_grows_and_stays_in_range(scores, a: float, b: float) -> None:
    p = probabilities(scores)
    low, high = sorted((a, b))
    assert expected_unique(p, low) <= expected_unique(p, high) * (1 + 1e-12)
    assert expected_unique(p, high) <= len(p) * (1 + 1e-12)
    if high >= 1:
        assert expected_unique(p, high) <= high * (1 + 1e-9)


def test_expected_unique_is_exact_where_it_is_known() -> None:
    assert expected_unique([1.0], 5) == 1.0
    assert expected_unique([1.0, 0.0], 0.5) == 1.0
    assert expected_unique([0.25] * 4, 0) == 0.0
    assert expected_unique([0.2, 0.3, 0.5], 1) == pytest.approx(1, rel=1e-15)
    # 1 - (1 - p)**m by itself would lose ten digits here
    rare = np.full(10**6, 1e-6)
    exact = 10**6 * -math.expm1(3 * math.log1p(-1e-6))
    assert expected_unique(rare, 3) == pytest.approx(exact, rel=1e-12)


def test_errors_say_what_is_wrong() -> None:
    with pytest.raises(InputError, match="every one of the 3 scores is 0"):
        probabilities([0.0, 0.0, 0.0])
    with pytest.raises(InputError, match=r"scores\[1\] is -1"):
        probabilities([0.5, -1.0])
    with pytest.raises(InputError, match="negative or not finite"):
        probabilities([0.5, math.nan])
    with pytest.raises(InputError, match=r"scores has shape \(0,\)"):
        probabilities([])
    with pytest.raises(InputError, match=r"sum to 0\.9"):
        expected_unique([0.5, 0.4], 3)
    for draws in (-1, math.inf, math.nan):
        with pytest.raises(InputError, match="draws is"):
            expected_unique([1.0], draws)


SMALLEST = 2.2250738585072014e-308  # of the normal floats


@settings(deadline=None)
@given(SCORES, st.floats(1e-3, 0.999))
@example(np.array([0.25, 1, SMALLEST, SMALLEST, SMALLEST]), 0.75)
@example(np.array([1, SMALLEST, SMALLEST]), 0.9375)
def test_draws_for_unique_gives_the_wanted_expectation(scores, share: float) -> None:
    p = probabilities(scores)
    support = int((p > 0).sum())
    wanted = share * support
    if support == 1 or (p.max() == 1 and wanted < 1):
        return
    most = math.exp(709)
    if expected_unique(p, most) < wanted:
        with pytest.raises(InputError, match=r"takes more than 8e\+307 draws"):
            draws_for_unique(p, wanted)
        return
    draws = draws_for_unique(p, wanted)
    assert expected_unique(p, draws) == pytest.approx(wanted, rel=1e-9)
    assert draws >= wanted * (1 - 1e-9) or wanted < 1


@settings(deadline=None)
@given(
    hnp.arrays(np.float64, st.integers(2, 40), elements=st.floats(0.01, 1)),
    st.floats(0.01, 3),
)
def test_draws_for_unique_is_the_inverse(scores, times: float) -> None:
    """Up to some draws for each channel; beyond, many numbers of draws hold all but the same."""
    p = probabilities(scores)
    draws = times * len(p)
    assert draws_for_unique(p, expected_unique(p, draws)) == pytest.approx(draws, rel=1e-9)


def test_draws_for_unique_where_it_is_known() -> None:
    assert draws_for_unique([0.2, 0.8], 0) == 0
    assert draws_for_unique([0.2, 0.8], 1) == 1
    assert draws_for_unique([1.0], 1) == 1
    assert draws_for_unique([0.5, 0.5], 1.75) == pytest.approx(3, rel=1e-12)
    assert draws_for_unique([1 - 1e-12, 1e-12], 1.5) == pytest.approx(math.log(2) * 1e12, rel=1e-3)
    for p, unique, support in (([0.5, 0.5, 0.0], 2, 2), ([1.0], 0.5, 1), ([0.5, 0.5], -1, 2)):
        with pytest.raises(InputError, match=rf"unique is {unique}; .* less than {support}"):
            draws_for_unique(p, unique)
    with pytest.raises(InputError, match="unique is nan"):
        draws_for_unique([0.5, 0.5], math.nan)
