"""Correlated features, the rank-one limit, random features, simulation, comparison and advice."""

from __future__ import annotations

import math

import numpy as np
import pytest

from prunella import InputError, theory
from prunella.theory import (
    RISKS,
    Estimate,
    Moments,
    advise,
    answer,
    compare,
    draw_weights,
    family,
    feature_covariance,
    make_correlated,
    make_problem,
    predict_problem,
    random_feature_problem,
    rank_one_risks,
    sampled_risks,
    simulate,
    simulate_rank_one,
)
from prunella.theory.simulate import least_squares

# Correlated features


@pytest.mark.parametrize("p", [120, 400])
def test_the_sampler_reproduces_the_diagonal_case(p):
    spectrum = family("power", 400)
    diagonal = predict_problem(
        make_problem(spectrum.eigenvalues, spectrum.coefficients, 0.3, 200, p, 50)
    )
    problem = make_correlated(np.diag(spectrum.eigenvalues), spectrum.coefficients, 0.3, 200, p, 50)
    found = sampled_risks(problem, draws=300, seed=1)
    assert list(found) == list(RISKS)
    for name, estimate in found.items():
        assert estimate.mean == pytest.approx(getattr(diagonal, name), rel=0.02), name


def test_turning_the_basis_changes_no_risk_of_the_dense_solution():
    spectrum = family("spiked", 60)
    rng = np.random.default_rng(0)
    turn, _ = np.linalg.qr(rng.standard_normal((60, 60)))
    problem = make_correlated(
        turn @ np.diag(spectrum.eigenvalues) @ turn.T, turn @ spectrum.coefficients, 0.3, 30, 60, 10
    )
    straight = predict_problem(
        make_problem(spectrum.eigenvalues, spectrum.coefficients, 0.3, 30, 60, 10)
    )
    estimate = sampled_risks(problem, draws=400, seed=2)["dense"]
    assert abs(estimate.mean - straight.dense) < 4 * estimate.standard_error
    assert estimate.standard_error < 0.02 * straight.dense


def test_the_oracle_retrained_uses_the_schur_complement():
    d, s, n = 12, 4, 40
    covariance = 0.6 ** np.abs(np.subtract.outer(np.arange(d), np.arange(d)))
    signal = np.arange(d, 0, -1.0)
    problem = make_correlated(covariance, signal, 0.5, n, d, s)
    kept, rest = slice(0, s), slice(s, d)
    schur = covariance[rest, rest] - covariance[rest, kept] @ np.linalg.solve(
        covariance[kept, kept], covariance[kept, rest]
    )
    closed = (0.25 + signal[rest] @ schur @ signal[rest]) / (1 - s / n)
    # All draws choose the same support, so that the average is exact.
    found = sampled_risks(problem, draws=400, seed=0)["oracle_retrained"]
    assert found.mean == pytest.approx(closed, rel=0.02)
    assert math.isnan(found.standard_error)


def test_features_left_out_are_predicted_from_the_others():
    rng = np.random.default_rng(1)
    root = rng.standard_normal((7, 7))
    covariance = root @ root.T
    signal = rng.standard_normal(7)
    problem = make_correlated(covariance, signal, 0.2, 20, 4, 2)
    # The best predictor from the first 4 and what it leaves, from a large sample.
    x = rng.standard_normal((200_000, 7)) @ root.T
    y = x @ signal + 0.2 * rng.standard_normal(200_000)
    best, left, *_ = np.linalg.lstsq(x[:, :4], y, rcond=None)
    assert problem.coefficients == pytest.approx(best, rel=0.05, abs=0.05)
    assert problem.noise**2 == pytest.approx(left[0] / 200_000, rel=0.02)


@pytest.mark.parametrize(
    ("covariance", "change", "words"),
    [
        ([[1.0, 1], [1, 1]], {}, "eigenvalue .*; expected positive ones only. For features of"),
        ([[1.0, 0.5], [0, 1]], {}, "not finite and symmetric"),
        ([[1.0, math.nan], [math.nan, 1]], {}, "not finite and symmetric"),
        (np.eye(3), {}, r"shape \(3, 3\) and there are 2 coefficients"),
        ("a", {}, "covariance is 'a'"),
        (np.eye(5), {"n": 5, "p": 5}, "p is 5, the number of samples"),
        (np.eye(5), {"n": 5, "p": 4, "s": 5}, "s is 5; .* from 1 to 4"),
        (np.eye(2), {"n": 2}, "n is 2; .* at least 3"),
    ],
)
def test_bad_covariances(covariance, change, words):
    size = len(covariance) if change else 2
    arguments = {"n": 10, "p": 2, "s": 1, **change}
    with pytest.raises(InputError, match=words):
        make_correlated(covariance, np.ones(size), 0.1, **arguments)


# The rank-one limit


def test_rank_one_formula_against_simulation():
    rng = np.random.default_rng(4)
    loadings, coefficients = rng.uniform(0.5, 1.5, 30), rng.uniform(0, 0.2, 30)
    arguments = (loadings, coefficients, 0.5, 40, 6)
    exact = rank_one_risks(*arguments)
    found = simulate_rank_one(*arguments, trials=2000, seed=5)
    assert found["dense"].mean == pytest.approx(exact.dense, rel=0.01)
    assert found["retrained"].mean == pytest.approx(found["dense"].mean, rel=1e-9)
    assert found["pruned"].mean == pytest.approx(exact.pruned, rel=0.01)
    assert exact.dense == pytest.approx(0.25 * (1 + 1 / 38))
    assert exact.pruned > 5 * exact.dense
    assert rank_one_risks(loadings, coefficients, 0.5, 40, 30).pruned == pytest.approx(exact.dense)


def test_rank_one_formula_where_noise_is_all_there_is():
    loadings = np.linspace(1, 2, 8)
    arguments = (loadings, np.zeros(8), 3.0, 8, 3)
    exact = rank_one_risks(*arguments)
    found = simulate_rank_one(*arguments, trials=2000, seed=6)["pruned"]
    assert abs(found.mean - exact.pruned) < 4 * found.standard_error
    assert found.standard_error < 0.1 * (exact.dense - exact.pruned)


def test_bad_loadings():
    with pytest.raises(InputError, match="loadings has 2 entries and coefficients 3"):
        rank_one_risks([1, 1], [1, 1, 1], 0.1, 10, 1)
    with pytest.raises(InputError, match="loadings are all 0"):
        rank_one_risks([0, 0], [1, 1], 0.1, 10, 1)
    with pytest.raises(InputError, match=r"n is 2; expected the number of samples, .* at least 3"):
        rank_one_risks([1, 1], [1, 1], 0.1, 2, 1)


# Random features


def test_moments_of_random_features():
    rng = np.random.default_rng(2)
    weights, target = draw_weights(5, 3, rng), np.array([1.0, -0.5, 2])
    inputs = rng.standard_normal((400_000, 3))
    features = np.maximum(inputs @ weights.T, 0)
    assert feature_covariance(weights) == pytest.approx(features.T @ features / 400_000, abs=0.01)
    problem = random_feature_problem(weights, target, 0.3, 20, 2)
    y = inputs @ target + 0.3 * rng.standard_normal(400_000)
    best, left, *_ = np.linalg.lstsq(features, y, rcond=None)
    assert problem.coefficients == pytest.approx(best, abs=0.05)
    assert problem.noise**2 == pytest.approx(left[0] / 400_000, rel=0.01)


def test_bad_weights():
    with pytest.raises(InputError, match=r"weights has shape \(5, 2\) and there are 3 inputs"):
        random_feature_problem(np.ones((5, 2)), [1, 1, 1], 0.1, 10, 2)


# Simulation


def small_problem():
    spectrum = family("spiked", 40)
    return make_problem(spectrum.eigenvalues, spectrum.coefficients, 0.3, 20, 40, 4)


def test_a_simulation_depends_on_its_seed_only():
    seed = np.random.SeedSequence(7, spawn_key=(3,))
    one, again = (simulate(small_problem(), trials=5, seed=seed) for _ in range(2))
    assert one == again  # the seed sequence was not used up
    assert one != simulate(small_problem(), trials=5, seed=8)
    assert list(one) == list(RISKS)


def test_streaming_moments_are_those_of_all_values():
    values = np.random.default_rng(0).standard_normal(50) + 1e6
    moments = Moments()
    for value in values:
        moments.add({"x": value})
    found = moments.estimates()["x"]
    assert found.trials == 50
    assert found.mean == pytest.approx(values.mean(), rel=1e-14)
    assert found.standard_error == pytest.approx(values.std(ddof=1) / math.sqrt(50), rel=1e-8)


def test_least_squares_is_the_pseudo_inverse():
    rng = np.random.default_rng(1)
    for shape in ((6, 10), (10, 6), (6, 6)):
        x, y = rng.standard_normal(shape), rng.standard_normal(shape[0])
        expected = np.linalg.pinv(x) @ y
        assert least_squares(x, y) == pytest.approx(expected)


def test_too_few_trials():
    with pytest.raises(InputError, match="trials is 1; expected the number of training sets"):
        simulate(small_problem(), trials=1, seed=0)


# Comparison and advice


def test_a_comparison_passes_by_standard_errors_or_by_share():
    simulated = {
        "near": Estimate(mean=1.0, standard_error=0.1, trials=9),
        "close": Estimate(mean=1.0, standard_error=1e-6, trials=9),
        "apart": Estimate(mean=1.0, standard_error=1e-6, trials=9),
    }
    found = compare({"near": 1.3, "close": 1.029, "apart": 1.031, "other": 0}, simulated)
    assert [one.passed for one in found] == [True, True, False]
    assert found[0].errors_apart == pytest.approx(3)
    assert found[2].relative == pytest.approx(0.031)
    with pytest.raises(InputError, match="apart has no prediction among near, close"):
        compare({"near": 1, "close": 1}, simulated)


def test_advice_in_the_families():
    """Where large wins and from where on, as the theory page says."""
    sizes = range(50, 1001, 5)
    wins, verdicts = {}, {}
    for name in theory.FAMILIES:
        spectrum = family(name)
        found = advise(spectrum.eigenvalues, spectrum.coefficients, 0.3, 200, 50, sizes=sizes)
        wins[name] = dict(found.first_win)
        verdicts[name] = found.prune_large
        assert found.pruned == min(
            getattr(one, rule)
            for one in found.predictions[1:]
            for rule in RISKS
            if rule not in ("dense", "oracle", "oracle_retrained")
        )
    assert wins["isotropic"] == {}
    assert wins["spiked"]["oracle"] == 495
    assert wins["spiked"]["hessian"] == 620
    assert wins["power"]["oracle"] == 385
    assert wins["power"]["hessian"] == 585
    assert verdicts["spiked"]
    assert verdicts["power"]
    assert not verdicts["isotropic"]


def test_the_answer_is_a_sentence():
    spectrum = family("power")
    found = advise(spectrum.eigenvalues, spectrum.coefficients, 0.3, 200, 50)
    assert answer(found).startswith("Prune large: a model of 1000 features, pruned by the Hessian ")
    spectrum = family("isotropic")
    found = advise(spectrum.eigenvalues, spectrum.coefficients, 0.3, 200, 50)
    assert answer(found).startswith("Train small: the best large model, of ")


def test_no_advice():
    with pytest.raises(InputError, match="s is 20 and n is 20; expected s less than n"):
        advise(np.ones(40), np.ones(40), 0.1, 20, 20)
    with pytest.raises(InputError, match=r"sizes are \[5\]; expected one larger than s = 5"):
        advise(np.ones(40), np.ones(40), 0.1, 20, 5, sizes=[5])
    with pytest.raises(InputError, match=r"s is 40; .* from 1 to 39"):
        advise(np.ones(40), np.ones(40), 0.1, 20, 40)


def test_risks_of_nothing_agree():
    one = theory.Comparison(
        name="dense", predicted=0.0, simulated=0.0, standard_error=0.0, trials=2
    )
    assert one.passed
    assert (one.errors_apart, one.relative) == (0, 0)
    other = theory.Comparison(
        name="dense", predicted=0.1, simulated=0.0, standard_error=0.0, trials=2
    )
    assert not other.passed
    assert math.isinf(other.errors_apart)


def test_correlated_features_without_any_noise_are_refused():
    with pytest.raises(InputError, match="every training set gives the true coefficients"):
        make_correlated(np.eye(4), np.ones(4), 0.0, 10, 4, 2)
