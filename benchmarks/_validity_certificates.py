"""How often the bounds of a certificate are wrong, over draws from a population known in full.

All bounds are made by `prunella.certificate`, by the functions that `certify` calls.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from _validity import LOSS, SAMPLINGS, Family, Row, allowed, drawn
from prunella.certificate.losses import loss_bound
from prunella.certificate.outcomes import bounds_from_outcomes, class_bounds, top_k_bound
from prunella.certificate.recording import Outcomes

ALPHA = 0.05  # share of samples on which the bound for the outputs may be exceeded
TOP = 2
TOGETHER = "all seven together"
_ROUNDING = 1e-12

BOUNDS = (
    "disagreement",
    "accuracy_drop",
    "outputs",
    "classes",
    f"top-{TOP} drop",
    "mean loss",
    "increase of the loss",
)
_CLASSES = BOUNDS.index("classes")
_ALONE = "each class by itself"
_ESTIMATE = "observed disagreement"


def uppers(outcomes: Outcomes, delta: float) -> tuple[list[float], NDArray[np.float64]]:
    """All bounds but those of the classes, which come second: (classes,), NaN if not named."""
    bounds = bounds_from_outcomes(
        outcomes.original,
        outcomes.small,
        outcomes.labels,
        outcomes.errors,
        alpha=ALPHA,
        delta=delta,
    )
    top = top_k_bound(outcomes, TOP, delta)
    loss = loss_bound(LOSS, *outcomes.losses[LOSS], delta)
    of_classes = np.full(10, np.nan)
    for bound in class_bounds(outcomes.original, outcomes.small, delta):
        of_classes[bound.index] = bound.disagreement_upper
    return [
        bounds.disagreement_upper,
        bounds.accuracy_drop_upper,
        bounds.logit_error_bound,
        np.nan,
        top.accuracy_drop_upper,
        loss.mean_upper,
        loss.increase_upper,
    ], of_classes


def truths(whole: Outcomes) -> tuple[list[float], NDArray[np.float64]]:
    """What is bounded, on the whole population, in the same form."""
    right, small_right = whole.original == whole.labels, whole.small == whole.labels
    first, second = (ranks < TOP for ranks in whole.ranks)
    before, after = whole.losses[LOSS]
    differ = whole.original != whole.small
    return [
        float(differ.mean()),
        float(right.mean() - small_right.mean()),
        # the least number that at most a share ALPHA exceeds
        float(np.sort(whole.errors)[round((1 - ALPHA) * len(whole.errors)) - 1]),
        np.nan,
        float(first.mean() - second.mean()),
        float(after.mean()),
        float((after - before).mean()),
    ], np.array([differ[whole.original == index].mean() for index in range(10)])


def certificate_rows(
    family: Family,
    place: int,
    *,
    deltas: Sequence[float],
    samples: int,
    draws: int,
    seed: int,
) -> Iterator[Row]:
    """How often each bound for one candidate, fixed beforehand, is below the truth."""
    for delta in deltas:
        found = {
            sampling: _simulated(family, place, delta, samples, draws, (seed, number), sampling)
            for number, sampling in enumerate(SAMPLINGS)
        }
        first, second = (found[sampling][0] for sampling in SAMPLINGS)
        values, means = truths(family.outcomes(place, slice(None)))[0], found[SAMPLINGS[0]][1]
        for name, wrong in first.items():
            own = name in BOUNDS
            spent = min(1.0, len(BOUNDS) * delta) if name == TOGETHER else delta
            index = BOUNDS.index(name) if own and name != "classes" else None
            yield {
                "part": "certificate",
                "candidates": f"{family.name}, {family.params[place]:.3f} of the parameters",
                "quantity": name,
                "rule": "",
                "valid": "no" if name in (_ALONE, _ESTIMATE) else "yes",
                "delta": f"{spent:g}",
                "level": ALPHA if name == "outputs" else "",
                "below": "",
                "draws": draws,
                "wrong": f"{wrong:.4f}",
                "allowed": f"{allowed(spent, draws):.4f}",
                "wrong_without_replacement": f"{second[name]:.4f}",
                "truth": "" if index is None else f"{values[index]:.4f}",
                "mean": "" if index is None else f"{means[index]:.4f}",
            }


def _simulated(
    family: Family,
    place: int,
    delta: float,
    samples: int,
    draws: int,
    seed: tuple[int, int],
    sampling: str,
) -> tuple[dict[str, float], NDArray[np.float64]]:
    """Shares of wrong draws by name, and the mean of each bound."""
    values, of_classes = truths(family.outcomes(place, slice(None)))
    generator = np.random.default_rng(seed)
    wrong = np.zeros((draws, len(BOUNDS)), dtype=bool)
    bounds = np.zeros((draws, len(BOUNDS)))
    alone, estimate = np.zeros(draws, dtype=bool), np.zeros(draws, dtype=bool)
    for draw in range(draws):
        outcomes = family.outcomes(place, drawn(generator, len(family.labels), samples, sampling))
        bounds[draw], each = uppers(outcomes, delta)
        wrong[draw] = bounds[draw] < np.array(values) - _ROUNDING
        wrong[draw, _CLASSES] = (each < of_classes - _ROUNDING).any()
        # as if there were one class alone: ten times delta for all ten together
        singly = class_bounds(outcomes.original, outcomes.small, min(10 * delta, 1 - 1e-9))
        alone[draw] = any(
            bound.disagreement_upper < of_classes[bound.index] - _ROUNDING for bound in singly
        )
        estimate[draw] = (outcomes.original != outcomes.small).mean() < values[0] - _ROUNDING
    shares = dict(zip(BOUNDS, wrong.mean(0).tolist(), strict=True))
    shares |= {TOGETHER: float(wrong.any(1).mean())}
    shares |= {_ALONE: float(alone.mean()), _ESTIMATE: float(estimate.mean())}
    return shares, bounds.mean(0)
