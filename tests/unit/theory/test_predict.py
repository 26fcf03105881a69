"""The predicted risks: golden values, identities, closed forms and edge cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prunella import theory
from prunella.theory import (
    RISKS,
    characterize,
    family,
    keep_by_rule,
    keep_support,
    make_problem,
    oracle_support,
    predict,
    predict_sizes,
    pruned_risk,
    retrain,
    solve_xi,
    support_risk,
)

N, S, NOISE = 200, 50, 0.3

# Computed once by another program, from the same formulae with the fixed point found by damped
# iteration.
GOLDEN = {
    ("isotropic", 150): (math.inf, 0.8937, 0.8462, 0.8462, 0.5501, 0.7077, 0.7077, 0.4356),
    ("isotropic", 400): (1, 0.7673, 0.7242, 0.7242, 0.5655, 0.7121, 0.7121, 0.4356),
    ("spiked", 250): (3.05242, 2.3089, 1.9788, 1.8173, 1.0843, 1.5505, 1.3259, 0.6958),
    ("spiked", 1000): (0.2, 0.5841, 0.8953, 0.6454, 0.6390, 1.1251, 0.7831, 0.6958),
    ("power", 250): (466.373, 0.6266, 1.1389, 0.4980, 0.3172, 1.2321, 0.3818, 0.2341),
    ("power", 1000): (75.445, 0.2107, 0.2716, 0.2216, 0.2158, 0.3445, 0.2650, 0.2341),
}


def at(name, p, *, s=S, n=N, noise=NOISE):
    spectrum = family(name)
    return make_problem(spectrum.eigenvalues, spectrum.coefficients, noise, n, p, s)


def predicted(name, p, **others):
    return theory.predict_problem(at(name, p, **others))


@pytest.mark.parametrize(("name", "p"), GOLDEN)
def test_golden_table(name, p):
    xi, *risks = GOLDEN[name, p]
    found = predicted(name, p)
    assert found.xi == pytest.approx(xi, rel=1e-5)
    assert list(found.risks().values()) == pytest.approx(risks, abs=1e-4)
    assert list(found.risks()) == list(RISKS)
    assert found.gamma == found.dense


# The law of the solution


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    logs=st.lists(st.floats(-12, 12), min_size=2, max_size=40),
    share=st.floats(0.01, 0.99),
    scale=st.floats(1e-6, 1e6),
)
def test_xi_solves_its_equation_and_scales(logs, share, scale):
    eigenvalues = np.exp(np.array(logs))
    n = min(max(1, round(share * len(logs))), len(logs) - 1)
    xi = solve_xi(eigenvalues, n)
    shares = xi * eigenvalues / (1 + xi * eigenvalues)
    assert abs(shares.sum() - n) < 1e-9 * n
    assert solve_xi(scale * eigenvalues, n) == pytest.approx(xi / scale, rel=1e-9)


def test_xi_of_equal_variances_and_of_few_features():
    assert solve_xi(np.ones(600), 200) == pytest.approx(0.5, rel=1e-12)
    assert solve_xi(np.ones(200), 200) == math.inf
    assert solve_xi(np.ones(600), 200, np.full(600, 0.5)) == pytest.approx(2.0, rel=1e-12)


@pytest.mark.parametrize("name", theory.FAMILIES)
@pytest.mark.parametrize("p", [60, 150, 199, 201, 300, 1000])
def test_gamma_is_the_risk_of_the_law(name, p):
    problem = at(name, p)
    law = characterize(problem)
    errors = (1 - law.shrinkage) ** 2 * problem.coefficients**2
    errors += law.shrinkage**2 * law.variance
    risk = problem.noise**2 + np.sum(problem.eigenvalues * errors)
    assert law.gamma == pytest.approx(risk, rel=1e-9)


@pytest.mark.parametrize("kappa", [1.5, 2, 4])
def test_equal_variances_have_a_closed_form(kappa):
    p = round(kappa * N)
    signal = np.arange(1, p + 1) ** -0.6
    signal /= np.linalg.norm(signal)
    gamma = predict(np.ones(p), signal, NOISE, N, p, S).gamma
    closed = NOISE**2 * kappa / (kappa - 1) + (1 - 1 / kappa)
    assert gamma == pytest.approx(closed, rel=1e-9)
    without_signal = predict(np.ones(p), np.zeros(p), NOISE, N, p, S)
    assert without_signal.dense == pytest.approx(NOISE**2 * kappa / (kappa - 1), rel=1e-9)


@pytest.mark.parametrize("scale", [1e-6, 7.0, 1e8])
@pytest.mark.parametrize("p", [150, 600])
def test_units_of_features_do_not_matter(p, scale):
    """Except to the magnitude rule where scales differ, and all are scaled alike here."""
    spectrum = family("power")
    one = predict(spectrum.eigenvalues, spectrum.coefficients, NOISE, N, p, S)
    scaled = spectrum.coefficients / math.sqrt(scale)
    other = predict(scale * spectrum.eigenvalues, scaled, NOISE, N, p, S)
    assert list(other.risks().values()) == pytest.approx(list(one.risks().values()), rel=1e-8)


@settings(deadline=None, max_examples=30, derandomize=True)
@given(unit=st.floats(1e-3, 1e3), p=st.sampled_from([120, 200, 260, 700]))
def test_units_of_labels_square(unit, p):
    spectrum = family("spiked", 700)
    one = predict(spectrum.eigenvalues, spectrum.coefficients, NOISE, N, p, S)
    other = predict(spectrum.eigenvalues, unit * spectrum.coefficients, unit * NOISE, N, p, S)
    expected = [unit**2 * risk for risk in one.risks().values()]
    assert list(other.risks().values()) == pytest.approx(expected, rel=1e-7)


# What is kept


@pytest.mark.parametrize("p", [120, 400])
@pytest.mark.parametrize("rule", ["magnitude", "hessian"])
def test_moments_of_the_kept_against_draws(p, rule):
    problem = at("power", p)
    law = characterize(problem)
    kept = keep_by_rule(problem, law, rule)
    assert kept.chance.sum() == pytest.approx(S, rel=1e-9)
    rng = np.random.default_rng(3)
    gain = law.shrinkage * (np.sqrt(problem.eigenvalues) if rule == "hessian" else 1)
    draws = problem.coefficients + np.sqrt(law.variance) * rng.standard_normal((4000, p))
    # A threshold of the population, so that the draws of a coordinate stay independent.
    scores = np.abs(gain * draws)
    threshold = np.sort(scores.ravel())[-4000 * S]
    mask = scores >= threshold
    for moment, values in (
        (kept.chance, mask),
        (kept.first, mask * draws),
        (kept.second, mask * draws**2),
    ):
        # Over all coordinates, and for some of them alone, in their own standard errors.
        error = values.std(axis=0, ddof=1) / math.sqrt(4000)
        apart = np.abs(values.mean(axis=0) - moment) / np.maximum(error, 1e-3 * law.variance)
        assert np.quantile(apart, 0.9) < 2.5
        assert values.sum(axis=1).mean() == pytest.approx(moment.sum(), rel=0.01)


def test_equal_variances_make_both_rules_the_same():
    for p in (100, 300):
        found = predicted("isotropic", p)
        assert found.hessian == pytest.approx(found.magnitude, rel=1e-12)
        assert found.hessian_retrained == pytest.approx(found.magnitude_retrained, rel=1e-12)


@pytest.mark.parametrize("name", theory.FAMILIES)
@pytest.mark.parametrize("p", [50, 150, 300])
def test_keeping_everything_changes_nothing(name, p):
    found = predicted(name, p, s=p)
    assert list(found.risks().values()) == pytest.approx([found.dense] * 7, abs=1e-6)


def test_ties_are_broken_by_order():
    problem = make_problem(np.ones(6), [1, 2, 2, 2, 1, 1], 0.0, 10, 6, 2)
    assert oracle_support(problem).tolist() == [False, True, True, False, False, False]
    many = make_problem(np.ones(500), np.tile([1, 2], 250), 0.0, 600, 500, 20)
    assert np.flatnonzero(oracle_support(many)).tolist() == list(range(1, 41, 2))
    # Without noise the solution is the truth, and the rules see the same ties.
    found = theory.predict_problem(problem)
    assert found.magnitude == found.oracle == pytest.approx(4 + 3)


# Retraining


@pytest.mark.parametrize("name", theory.FAMILIES)
@pytest.mark.parametrize(("p", "s"), [(100, 50), (400, 50), (1000, 50), (1000, 400)])
def test_a_support_chosen_without_the_samples_leaves_no_memory(name, p, s):
    problem = at(name, p, s=s)
    law = characterize(problem)
    support = oracle_support(problem)
    found = retrain(problem, law, keep_support(problem, law, support))
    assert found.memory == pytest.approx(0, abs=1e-9)
    assert found.risk == pytest.approx(support_risk(problem, support), rel=1e-9)


def iterated(problem, law, kept):
    """The fixed point as it was first written: damped iteration, nothing solved."""
    b, c, values, n = problem.coefficients, law.shrinkage, problem.eigenvalues, problem.n
    p, m1, m2, gamma = kept.chance, kept.first, kept.second, law.gamma
    state = np.array([gamma, gamma, 0.0])
    for _ in range(5000):
        g22, g12, a = state
        rho = g12 / gamma
        constant, slope = b * (1 - rho), rho - a * (1 - c)
        spread = max(g22 - g12**2 / gamma, 0.0) / (n * values)
        e1 = constant * p + slope * m1
        er = constant * m1 + slope * m2
        e2 = constant**2 * p + 2 * constant * slope * m1 + slope**2 * m2 + spread * p
        new22 = problem.noise**2 + np.sum(values * (b**2 - 2 * b * e1 + e2))
        new12 = problem.noise**2 + np.sum(values * (b**2 * (1 - c) - b * e1 + c * er))
        b1 = np.sum(n * values * (er - b * e1) - g12 * p) / (n * gamma)
        new = np.array([new22, new12, b1 / (1 - problem.s / n)])
        if np.abs(new - state).max() < 1e-12:
            break
        state = 0.7 * state + 0.3 * new
    return state


@pytest.mark.parametrize(("name", "p"), [("isotropic", 150), ("spiked", 400), ("power", 1000)])
@pytest.mark.parametrize("rule", ["magnitude", "hessian"])
def test_the_solved_fixed_point_is_the_iterated_one(name, p, rule):
    problem = at(name, p)
    law = characterize(problem)
    kept = keep_by_rule(problem, law, rule)
    found = retrain(problem, law, kept)
    slow = iterated(problem, law, kept)
    expected = [slow[0], slow[1] / law.gamma, slow[2]]
    assert [found.risk, found.overlap, found.memory] == pytest.approx(expected, rel=1e-7, abs=1e-8)


def test_the_oracle_retrained_has_its_formula():
    spectrum = family("power")
    energy = spectrum.eigenvalues * spectrum.coefficients**2
    closed = (NOISE**2 + energy[S:].sum()) / (1 - S / N)
    for p in (50, 199, 200, 201, 1000):
        assert predicted("power", p).oracle_retrained == pytest.approx(closed, rel=1e-12)


# Shapes of the curves


@pytest.mark.parametrize("name", theory.FAMILIES)
def test_unretrained_curves_peak_beside_n(name):
    sizes = [p for p in range(50, 600, 5) if p != N]
    spectrum = family(name)
    curves = predict_sizes(spectrum.eigenvalues, spectrum.coefficients, NOISE, N, sizes, S)
    for rule in ("dense", "magnitude", "hessian", "oracle"):
        risks = [getattr(one, rule) for one in curves]
        assert sizes[int(np.argmax(risks))] in (195, 205)


def test_second_descent_in_the_spiked_family():
    below = min(predicted("spiked", p).hessian for p in range(60, 200, 5))
    above = {p: predicted("spiked", p).hessian for p in range(205, 1001, 5)}
    assert below == pytest.approx(0.7488, abs=1e-3)
    assert min(above.values()) == pytest.approx(0.6454, abs=1e-3)
    assert min(above, key=above.__getitem__) == 1000


# At the edges


@settings(deadline=None, max_examples=150, derandomize=True)
@given(
    seed=st.integers(0, 2**32),
    n=st.integers(2, 40),
    p=st.integers(1, 80),
    share=st.floats(0, 1),
    noise=st.sampled_from([0.0, 1e-6, 0.3, 1e3]),
    spread=st.sampled_from([0.0, 1.0, 5.0]),
)
def test_any_problem_has_risks_of_at_least_its_noise(seed, n, p, share, noise, spread):
    """No warning, no NaN, and nothing predicts better than the truth."""
    rng = np.random.default_rng(seed)
    eigenvalues = np.exp(spread * rng.standard_normal(p))
    coefficients = rng.standard_normal(p)
    s = max(1, round(share * p))
    found = predict(eigenvalues, coefficients, noise, n, p, s)
    for name, risk in found.risks().items():
        assert risk >= noise**2 * (1 - 1e-9), name
        assert math.isfinite(risk) or p == n or s == n, name


def test_at_p_equal_to_n_the_unretrained_risks_are_infinite():
    for name in theory.FAMILIES:
        found = predicted(name, N)
        for rule in ("dense", "magnitude", "hessian", "oracle"):
            assert getattr(found, rule) == math.inf
        assert found.gamma == found.xi == math.inf


@pytest.mark.parametrize("name", ["isotropic", "spiked", "power"])
def test_at_p_equal_to_n_retraining_is_the_limit_from_both_sides(name):
    """With ever more samples in the same proportion, p = n - 1 and n + 1 come closer to p = n."""
    factor = 4000
    base = family(name, 6).eigenvalues, family(name, 6).coefficients
    n = 4 * factor
    eigenvalues = np.repeat(base[0], factor)
    coefficients = np.repeat(base[1], factor) / math.sqrt(factor)
    at_n = predict(eigenvalues, coefficients, NOISE, n, n, factor)
    for p in (n - 1, n + 1):
        beside = predict(eigenvalues, coefficients, NOISE, n, p, factor)
        assert beside.dense > 1000 * at_n.hessian_retrained
        for rule in ("magnitude_retrained", "hessian_retrained"):
            assert getattr(beside, rule) == pytest.approx(getattr(at_n, rule), rel=0.02)


def test_retraining_as_many_features_as_samples_is_infinite():
    found = predicted("power", 600, s=N)
    assert math.isinf(found.magnitude_retrained)
    assert math.isinf(found.oracle_retrained)
    assert math.isfinite(found.oracle)
    beyond = predicted("power", 600, s=300)
    assert all(math.isfinite(risk) for risk in beyond.risks().values())
    # Least squares of minimum norm on the 300 best features, as a problem of its own.
    alone = predicted("power", 300, s=300)
    assert beyond.oracle_retrained == pytest.approx(alone.dense, rel=1e-12)


def test_features_without_variance_are_left_out():
    eigenvalues, coefficients = np.array([4.0, 0, 1, 0, 2, 1]), np.array([1.0, 9, 1, 9, 0.5, 2])
    seen = eigenvalues > 0
    one = predict(eigenvalues, coefficients, 0.5, 20, 6, 3)
    other = predict(eigenvalues[seen], coefficients[seen], 0.5, 20, 4, 3)
    assert one == other
    # All that can be kept is kept.
    assert predict(eigenvalues, coefficients, 0.5, 20, 6, 5).oracle == pytest.approx(one.dense)


def test_without_noise_the_solution_is_the_truth():
    found = predict(np.ones(20), np.ones(20), 0, 40, 20, 5)
    assert found.dense == found.gamma == 0
    assert found.oracle == pytest.approx(15)
    assert found.oracle_retrained == found.magnitude_retrained == pytest.approx(15 / (1 - 5 / 40))
    assert predict(np.ones(20), np.ones(20), 0, 20, 20, 20).dense == 0
    nothing = predict(np.ones(60), np.zeros(60), 0, 40, 60, 5)
    assert set(nothing.risks().values()) == {0.0}


GOOD = {
    "eigenvalues": [2.0, 1, 1], "coefficients": [1.0, 1, 1], "noise": 0.1, "n": 10, "p": 3, "s": 2,
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"eigenvalues": [2.0, -1, 1]}, r"eigenvalues\[1\] is -1; expected variances"),
        ({"eigenvalues": [0.0, 0, 0]}, "eigenvalues are all 0"),
        ({"eigenvalues": [0.0, 0, 1], "p": 2}, "the first 2 are all 0"),
        ({"eigenvalues": [2.0, 1]}, "eigenvalues has 2 entries and coefficients 3"),
        ({"eigenvalues": [[2.0, 1, 1]]}, r"eigenvalues has shape \(1, 3\)"),
        ({"eigenvalues": []}, r"eigenvalues has shape \(0,\)"),
        ({"eigenvalues": [2.0, math.nan, 1]}, r"eigenvalues\[1\] is nan"),
        ({"coefficients": [1.0, 1, math.inf]}, r"coefficients\[2\] is inf"),
        ({"coefficients": "many"}, "coefficients is 'many'; expected numbers"),
        ({"noise": -0.1}, "noise is -0.1; expected the standard deviation"),
        ({"noise": math.nan}, "noise is nan"),
        ({"noise": "loud"}, "noise is 'loud'"),
        ({"n": 0}, "n is 0; expected the number of samples, an integer of at least 1"),
        ({"n": 2.5}, "n is 2.5"),
        ({"p": 4}, "p is 4; expected the number of features of the model, an integer from 1 to 3"),
        ({"s": 0}, "s is 0; expected the number of coefficients to keep"),
        ({"p": 2, "s": 3}, "s is 3; .* at most p, an integer from 1 to 2"),
    ],
)
def test_bad_input_is_one_clear_error(change, words):
    predict(**GOOD)
    with pytest.raises(theory.problem.InputError, match=words) as caught:
        predict(**{**GOOD, **change})
    assert "\n" not in str(caught.value)


def test_a_problem_is_frozen_and_does_not_share_the_user_s_arrays():
    eigenvalues = np.array([2.0, 1, 1])
    problem = make_problem(eigenvalues, [1.0, 1, 1], 0.1, 10, 3, 2)
    eigenvalues[:] = 7
    assert problem.eigenvalues.tolist() == [2, 1, 1]
    with pytest.raises(AttributeError):
        problem.n = 3
    assert pruned_risk(
        problem, characterize(problem), keep_by_rule(problem, characterize(problem), "hessian")
    ) == pytest.approx(theory.predict_problem(problem).hessian)


def test_no_family_of_that_name():
    with pytest.raises(theory.problem.InputError, match="family 'flat' is not known; expected one"):
        family("flat")


@pytest.mark.parametrize("name", theory.FAMILIES)
def test_families_explain_one_and_order_by_importance(name):
    spectrum = family(name)
    energy = spectrum.eigenvalues * spectrum.coefficients**2
    assert energy.sum() == pytest.approx(1)
    assert (np.diff(energy) <= 1e-18).all()
