"""The five figures of the theory page, as numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy.special import ndtri

from prunella.core.panels import Curve, Panel, Study
from prunella.theory.advice import Advice
from prunella.theory.characterize import characterize
from prunella.theory.correlated import (
    CorrelatedProblem,
    make_correlated,
    sampled_risks,
    simulate_correlated,
)
from prunella.theory.families import FAMILIES, Family, family
from prunella.theory.predicting import predict, predict_sizes
from prunella.theory.problem import Array, Problem, make_problem
from prunella.theory.random_features import (
    draw_weights,
    random_feature_problem,
    simulate_random_features,
)
from prunella.theory.rank_one import rank_one_risks
from prunella.theory.simulate import Estimate, draw, least_squares, simulate

N, D, S, NOISE = 200, 1000, 50, 0.3
SEED = 7
LABELS = {
    "dense": "dense",
    "magnitude": "magnitude",
    "hessian": "Hessian",
    "oracle": "oracle",
    "magnitude_retrained": "magnitude, retrained",
    "hessian_retrained": "Hessian, retrained",
    "oracle_retrained": "small model, best features known",
}
_RISK = "test error"
_AT_N = ((1.0, "n"),)
_NAMES = tuple(LABELS.values())


def sizes_study(*, trials: int = 50) -> Study:
    """F1: risk over the size of the model in four families."""
    return Study(
        key="sizes",
        title="Pruning to s = 50 features, from models of every size",
        text="Lines are predictions, points the means of simulated training sets with their "
        "standard errors. The horizontal dashed line is a small model of the 50 best features, "
        "trained directly.",
        panels=tuple(_sizes_panel(name, trials) for name in FAMILIES),
        names=_NAMES,
    )


def _sizes_panel(name: Family, trials: int) -> Panel:
    spectrum = family(name, D)
    shown = [k for k in range(S, D + 1, 5) if k != N]
    curves = predict_sizes(spectrum.eigenvalues, spectrum.coefficients, NOISE, N, shown, S)
    lines = [
        Curve(
            name=label,
            x=tuple(k / N for k in shown),
            y=tuple(getattr(one, rule) for one in curves),
            dashed=rule == "oracle_retrained",
        )
        for rule, label in LABELS.items()
    ]
    places = (70, 100, 150, 250, 300, 400, 600, 800, 1000)

    def at(size: int) -> Mapping[str, Estimate]:
        problem = make_problem(spectrum.eigenvalues, spectrum.coefficients, NOISE, N, size, S)
        seed = np.random.SeedSequence(SEED, spawn_key=(FAMILIES.index(name), size))
        return simulate(problem, trials=trials, seed=seed)

    points = _points(places, at, x=[k / N for k in places], leave_out=("oracle_retrained",))
    return Panel(
        title=name,
        x_title="size of the model / n",
        y_title=_RISK,
        curves=(*lines, *points),
        lines=((S / N, "s"), *_AT_N),
        log_y=True,
    )


def _points(
    places: Sequence[float],
    at: Callable[[int], Mapping[str, Estimate]],
    *,
    x: Sequence[float],
    leave_out: Sequence[str] = (),
) -> list[Curve]:
    found = [at(int(place)) for place in places]
    return [
        Curve(
            name=label,
            x=tuple(x),
            y=tuple(one[rule].mean for one in found),
            errors=tuple(one[rule].standard_error for one in found),
            marks=True,
        )
        for rule, label in LABELS.items()
        if rule not in leave_out
    ]


def sparsity_study() -> Study:
    """F2: risk over s at a fixed size: where a pruned large model beats the small one."""
    panels = []
    shown = sorted({*range(2, 196, 2), 197, 199})
    for name in FAMILIES:
        spectrum = family(name, D)
        large = [
            predict(spectrum.eigenvalues, spectrum.coefficients, NOISE, N, D, s) for s in shown
        ]
        curves = tuple(
            Curve(
                name=LABELS[rule],
                x=tuple(s / N for s in shown),
                y=tuple(getattr(one, rule) for one in large),
                dashed=rule == "oracle_retrained",
            )
            for rule in ("hessian", "oracle", "oracle_retrained")
        )
        wins = [one.oracle < one.oracle_retrained for one in large]
        panels.append(
            Panel(
                title=f"{name}, model of 5 n features",
                x_title="kept features s / n",
                y_title=_RISK,
                curves=curves,
                log_y=True,
                bands=_stretches([s / N for s in shown], wins),
            )
        )
    return Study(
        key="sparsity",
        title="How many features are kept",
        text="Shaded: the same features, with coefficients out of the large model, predict better "
        "than when the small model is trained on them alone.",
        panels=tuple(panels),
        names=_NAMES,
    )


def _stretches(x: Sequence[float], wins: Sequence[bool]) -> tuple[tuple[float, float], ...]:
    """Runs of places at which something holds."""
    found: list[tuple[float, float]] = []
    begun: float | None = None
    for place, win in zip(x, wins, strict=True):
        if win and begun is None:
            begun = place
        if not win and begun is not None:
            found.append((begun, place))
            begun = None
    return (*found, (begun, x[-1])) if begun is not None else tuple(found)


def correlation_study(*, draws: int = 60, trials: int = 30) -> Study:
    """F3: what retraining gains as features become copies of each other."""
    size, n, s = 300, 100, 30
    signal: Array = np.arange(1, size + 1, dtype=np.float64) ** -0.6
    strengths = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.97)

    def problem(strength: float) -> CorrelatedProblem:
        covariance = (1 - strength) * np.eye(size) + strength
        return make_correlated(covariance, _unit(signal, covariance), NOISE, n, size, s)

    predicted = [sampled_risks(problem(r), draws=draws, seed=SEED) for r in strengths]
    found = [simulate_correlated(problem(r), trials=trials, seed=SEED + 1) for r in strengths]
    limit = rank_one_risks(np.ones(size), _unit(signal, np.ones((size, size))), NOISE, n, s)
    ends = {"hessian": limit.pruned, "hessian_retrained": limit.dense, "dense": limit.dense}
    curves = [
        Curve(
            name=LABELS[rule],
            x=(*strengths, 1.0),
            y=(*(one[rule].mean for one in predicted), end),
        )
        for rule, end in ends.items()
    ]
    curves += [
        Curve(
            name=LABELS[rule],
            x=strengths,
            y=tuple(one[rule].mean for one in found),
            errors=tuple(one[rule].standard_error for one in found),
            marks=True,
        )
        for rule in ends
    ]
    gain = Curve(
        name="pruned less retrained",
        x=(*strengths, 1.0),
        y=(
            *(one["hessian"].mean - one["hessian_retrained"].mean for one in predicted),
            limit.pruned - limit.dense,
        ),
    )
    return Study(
        key="correlation",
        title="What retraining gains as features become alike",
        text="All features have variance 1 and the same correlation with each other; 300 features, "
        "100 samples, 30 kept by the Hessian rule, which is the magnitude rule here. At "
        "correlation 1 the formula of rank one is exact.",
        panels=(
            Panel(
                title="risks",
                x_title="correlation",
                y_title=_RISK,
                curves=tuple(curves),
                log_y=True,
            ),
            Panel(
                title="gain of retraining",
                x_title="correlation",
                y_title="difference of test errors",
                curves=(gain,),
            ),
        ),
        names=_NAMES,
    )


def _unit(
    signal: Array,
    covariance: Array,
) -> Array:
    """The signal scaled so that it explains variance 1."""
    return np.asarray(signal / np.sqrt(signal @ covariance @ signal))


def random_feature_study(*, draws: int = 60, trials: int = 30) -> Study:
    """F4: random ReLU features of many inputs, pruned to s."""
    inputs = 50
    target = np.ones(inputs) / math.sqrt(inputs)
    weights = draw_weights(D, inputs, np.random.default_rng(SEED))
    places = (60, 80, 100, 130, 160, 180, 220, 240, 300, 400, 600, 800)
    rules = ("dense", "magnitude", "hessian", "magnitude_retrained", "hessian_retrained")

    def at(size: int) -> CorrelatedProblem:
        return random_feature_problem(weights[:size], target, NOISE, N, S)

    predicted = [sampled_risks(at(k), draws=draws, seed=SEED) for k in places]
    found = [
        simulate_random_features(at(k), weights[:k], target, NOISE, trials=trials, seed=SEED + k)
        for k in places
    ]
    small = sampled_risks(random_feature_problem(weights[:S], target, NOISE, N, S), draws=2, seed=1)
    x = tuple(k / N for k in places)
    lines = [
        Curve(name=LABELS[rule], x=x, y=tuple(one[rule].mean for one in predicted))
        for rule in rules
    ]
    flat = Curve(
        name="s random features trained directly",
        x=x,
        y=(small["oracle_retrained"].mean,) * len(x),
        dashed=True,
    )
    points = [
        Curve(
            name=LABELS[rule],
            x=x,
            y=tuple(one[rule].mean for one in found),
            errors=tuple(one[rule].standard_error for one in found),
            marks=True,
        )
        for rule in rules
    ]
    return Study(
        key="random-features",
        title="Random ReLU features of 50 inputs, pruned to 50",
        text="A linear target of 50 inputs, 200 samples; predictions know the first and second "
        "moments of the features only.",
        panels=(
            Panel(
                title="random features",
                x_title="random features / n",
                y_title=_RISK,
                curves=(*lines, flat, *points),
                lines=_AT_N,
                log_y=True,
            ),
        ),
        names=_NAMES,
    )


def distribution_study(*, trials: int = 60) -> Study:
    """F5: standardised coordinates of real solutions against the normal distribution."""
    panels = []
    levels = (np.arange(99) + 1) / 100
    normal = ndtri(levels)
    for name in FAMILIES:
        spectrum = family(name, D)
        curves = [Curve(name="normal", x=tuple(normal), y=tuple(normal), dashed=True)]
        for size in (100, 600):
            problem = make_problem(spectrum.eigenvalues, spectrum.coefficients, NOISE, N, size, S)
            values = standardised(problem, trials=trials, seed=SEED)
            curves.append(
                Curve(
                    name=f"{size} features",
                    x=tuple(normal),
                    y=tuple(float(value) for value in np.quantile(values, levels)),
                    marks=True,
                )
            )
        panels.append(
            Panel(
                title=name,
                x_title="quantile of N(0, 1)",
                y_title="quantile of the coordinates",
                curves=tuple(curves),
            )
        )
    return Study(
        key="distribution",
        title="Coordinates of real solutions are as normal as the theory says",
        text="(solution - c b) / (c sqrt v), all coordinates of 60 training sets; the 1st to 99th "
        "percentile against those of the normal distribution.",
        panels=tuple(panels),
    )


def standardised(problem: Problem, *, trials: int, seed: int) -> Array:
    """All coordinates of `trials` solutions, less their predicted mean, over their spread."""
    law = characterize(problem)
    centre = law.shrinkage * problem.coefficients
    spread = law.shrinkage * np.sqrt(law.variance)
    rng = np.random.default_rng(seed)
    return np.concatenate(
        [(least_squares(*draw(problem, rng)) - centre) / spread for _ in range(trials)]
    )


def advice_study(advice: Advice, n: int) -> Study:
    """The curve behind an answer: risks over the size of the model."""
    lines = tuple(
        Curve(
            name=label,
            x=tuple(float(k) for k in advice.sizes),
            y=tuple(
                advice.small if rule == "oracle_retrained" else getattr(one, rule)
                for one in advice.predictions
            ),
            dashed=rule == "oracle_retrained",
        )
        for rule, label in LABELS.items()
    )
    return Study(
        key="curve",
        title="Test error over the size of the model",
        text="The dashed line is the small model of the best features, trained directly. Oracle: "
        "the same features, with coefficients out of the large model.",
        panels=(
            Panel(
                title="predicted",
                x_title="features of the model",
                y_title=_RISK,
                curves=lines,
                lines=((float(n), "n"),),
                log_y=True,
            ),
        ),
        names=_NAMES,
    )


STUDIES: dict[str, Callable[[], Study]] = {
    "sizes": sizes_study,
    "sparsity": sparsity_study,
    "correlation": correlation_study,
    "random-features": random_feature_study,
    "distribution": distribution_study,
}
