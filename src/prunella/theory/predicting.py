"""The front door: all risks of a problem, for one size of the model or for many."""

from __future__ import annotations

import math
from collections.abc import Sequence

from numpy.typing import ArrayLike

from prunella.theory.characterize import Law, characterize
from prunella.theory.problem import Prediction, Problem, make_problem
from prunella.theory.pruned import (
    Kept,
    Rule,
    keep_by_rule,
    keep_support,
    oracle_support,
    pruned_risk,
)
from prunella.theory.retrained import retrained_risk, support_risk


def predict(
    eigenvalues: ArrayLike,  # (d,)
    coefficients: ArrayLike,  # (d,)
    noise: float,
    n: int,
    p: int,
    s: int,
) -> Prediction:
    """Predict the test errors of a linear model of p features, pruned to s, from n samples.

    Args:
        eigenvalues: Variances of the features, shape (d,), in the order in which models take
            them up: the most important first, as a rule.
        coefficients: True coefficients, shape (d,).
        noise: Standard deviation of the label noise.
        n: Number of samples.
        p: Number of features of the model, at most d; the others act as more noise.
        s: Number of coefficients that pruning keeps, at most p.

    Returns:
        The risks by name: expected squared error on a new sample, in the limit of many samples
        and features. Infinite where the solution is (p = n, and retraining with s = n).

    Raises:
        InputError: a shape, a sign or a size is impossible; the message says which.

    Source: docs/theory/double-descent.md, where each formula is derived; the questions are those
    of Chang, Li, Oymak, Thrampoulidis (AAAI 2021, arXiv 2012.08749).
    """
    return predict_problem(make_problem(eigenvalues, coefficients, noise, n, p, s))


def predict_sizes(
    eigenvalues: ArrayLike,  # (d,)
    coefficients: ArrayLike,  # (d,)
    noise: float,
    n: int,
    sizes: Sequence[int],
    s: int,
) -> tuple[Prediction, ...]:
    """`predict` for each size p of the model, in their order.

    Raises:
        InputError: as for `predict`.
    """
    return tuple(predict(eigenvalues, coefficients, noise, n, p, s) for p in sizes)


def predict_problem(problem: Problem) -> Prediction:
    """`predict` for a problem that is made already."""
    law = characterize(problem)
    support = oracle_support(problem)
    magnitude, hessian = (_by_rule(problem, law, rule) for rule in ("magnitude", "hessian"))
    finite = math.isfinite(law.gamma)
    return Prediction(
        dense=law.gamma,
        magnitude=magnitude[0],
        hessian=hessian[0],
        oracle=pruned_risk(problem, law, keep_support(problem, law, support))
        if finite
        else math.inf,
        magnitude_retrained=magnitude[1],
        hessian_retrained=hessian[1],
        oracle_retrained=support_risk(problem, support),
        gamma=law.gamma,
        xi=law.xi,
    )


def _by_rule(problem: Problem, law: Law, rule: Rule) -> tuple[float, float]:
    """Risks of pruning by a rule, without retraining and with it."""
    kept: Kept | None = None
    pruned = math.inf
    if math.isfinite(law.gamma):
        kept = keep_by_rule(problem, law, rule)
        pruned = pruned_risk(problem, law, kept)
    return pruned, retrained_risk(problem, law, kept, rule)
