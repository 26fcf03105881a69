"""Train a small model, or train a large one and prune it?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from numpy.typing import ArrayLike

from prunella.core.errors import InputError
from prunella.theory.predicting import predict_sizes
from prunella.theory.problem import Prediction, check_size, check_spectrum

# Rules that need no knowledge of the truth.
_RULES = ("magnitude", "hessian", "magnitude_retrained", "hessian_retrained")


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """The curve over model sizes, and what follows from it.

    Attributes:
        sizes: Model sizes, rising from s.
        predictions: The risks at each size.
        small: Risk of a model of s features, the best ones, trained directly.
        size: The size from which a large model is best pruned, by a rule that knows the samples
            only.
        rule: That rule, a name of `Prediction`.
        pruned: The risk so reached.
        first_win: The smallest size beyond n at which such a rule, or the oracle, beats the small
            model, by the rule's name; sizes within the grid only.
    """

    sizes: tuple[int, ...]
    predictions: tuple[Prediction, ...]
    small: float
    size: int
    rule: str
    pruned: float
    first_win: tuple[tuple[str, int], ...]

    @property
    def prune_large(self) -> bool:
        """Whether the pruned large model beats the small one."""
        return self.pruned < self.small


def advise(
    eigenvalues: ArrayLike,  # (d,)
    coefficients: ArrayLike,  # (d,)
    noise: float,
    n: int,
    s: int,
    *,
    sizes: Sequence[int] | None = None,
) -> Advice:
    """Compare a small model of the s best features with large models pruned to s.

    Args:
        eigenvalues: Variances of the features, shape (d,), in the order in which models take
            them up.
        coefficients: True coefficients, shape (d,).
        noise: Standard deviation of the label noise.
        n: Number of samples.
        s: Coefficients to keep, less than n.
        sizes: Model sizes to look at; by default about 40 from s to d.

    Raises:
        InputError: as for `predict`; there is no size larger than s, or s is not less than n.
    """
    values, signal = check_spectrum(eigenvalues, coefficients)
    n = check_size("n", n, "the number of samples")
    if len(values) == 1:
        raise InputError("there is 1 feature; expected 2 at least, or there is nothing to prune.")
    s = check_size("s", s, "the number of coefficients to keep, less than d", most=len(values) - 1)
    if s >= n:
        raise InputError(
            f"s is {s} and n is {n}; expected s less than n, because a small model with as many "
            "features as samples or more is no small one. Keep fewer or give more samples."
        )
    chosen = tuple(sorted({*(model_sizes(n, s, len(values)) if sizes is None else sizes)}))
    predictions = predict_sizes(values, signal, noise, n, chosen, s)
    large = [(size, one) for size, one in zip(chosen, predictions, strict=True) if size > s]
    if not large:
        raise InputError(f"sizes are {list(chosen)}; expected one larger than s = {s} at least.")
    # The small model knows the best of all features, at whatever size they come.
    small = min(one.oracle_retrained for one in predictions)
    pruned, size, rule = min(
        (getattr(one, rule), size, rule) for size, one in large for rule in _RULES
    )
    wins = (
        (rule, next((k for k, one in large if k > n and getattr(one, rule) < small), 0))
        for rule in ("oracle", *_RULES)
    )
    return Advice(
        sizes=chosen,
        predictions=predictions,
        small=small,
        size=size,
        rule=rule,
        pruned=pruned,
        first_win=tuple((rule, k) for rule, k in wins if k),
    )


def model_sizes(n: int, s: int, most: int, count: int = 40) -> tuple[int, ...]:
    """About `count` sizes from s to `most`, evenly on a log scale, closer beside n."""
    ratio = most / s
    even = (round(s * ratio ** (i / (count - 1))) for i in range(count))
    beside = (round(n * share) for share in (0.8, 0.9, 0.95, 1, 1.05, 1.1, 1.25))
    return tuple(sorted({k for k in (*even, *beside) if s <= k <= most}))


def answer(advice: Advice) -> str:
    """The answer as one sentence."""
    best = advice.rule.replace("_", " and ").replace("magnitude", "by magnitude")
    best = best.replace("hessian", "by the Hessian rule")
    pruned = "inf" if math.isinf(advice.pruned) else f"{advice.pruned:.4g}"
    words = f"{advice.size} features, pruned {best}, reaches {pruned}; the small model"
    if advice.prune_large:
        return f"Prune large: a model of {words} reaches {advice.small:.4g}."
    return f"Train small: the best large model, of {words} reaches {advice.small:.4g}."
