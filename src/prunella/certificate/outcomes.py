"""From what two networks answered on each sample to the bounds of a certificate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prunella.bounds import clopper_pearson_upper, paired_difference_upper, tolerance_limit
from prunella.certificate.recording import Outcomes
from prunella.core.certified import ClassBound, TopKBound
from prunella.core.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeBounds:
    """The numbers of a certificate; names and meaning as in `Certificate`."""

    n: int
    disagreement: float
    disagreement_upper: float
    accuracy_drop: float | None
    accuracy_drop_upper: float | None
    logit_error_bound: float | None


def bounds_from_outcomes(
    original: NDArray[np.int64],  # (n,) top class of the original
    small: NDArray[np.int64],  # (n,) top class of the small network
    labels: NDArray[np.int64] | None,  # (n,) or None where there are none
    errors: NDArray[np.float64],  # (n,) relative errors of the outputs, may be infinite
    *,
    alpha: float,
    delta: float,
) -> OutcomeBounds:
    """Bound disagreement, accuracy drop and output error; each with confidence 1 - delta.

    Theorems 1 (Clopper-Pearson), 2 (tolerance limit) and 3 (paired difference) of
    `docs/theory/certificates.md`. Assumption: the samples are independent and drawn like the new
    ones that the bounds speak of, and neither network depends on them.

    Raises:
        InputError: the arrays differ in length or are empty; alpha or delta is not in (0, 1); an
            error is NaN.
    """
    n = len(original)
    arrays = [original, small, errors] + ([] if labels is None else [labels])
    if not n or any(array.shape != (n,) for array in arrays):
        raise InputError(
            f"the outcomes have shapes {[array.shape for array in arrays]}; expected one entry for "
            "each sample in all of them, and at least one sample."
        )
    differ = int(np.count_nonzero(original != small))
    drop, drop_upper = None, None
    if labels is not None:
        drop, drop_upper = _drop(original == labels, small == labels, delta)
    return OutcomeBounds(
        n=n,
        disagreement=differ / n,
        disagreement_upper=clopper_pearson_upper(differ, n, delta),
        accuracy_drop=drop,
        accuracy_drop_upper=drop_upper,
        logit_error_bound=tolerance_limit(errors, alpha, delta),
    )


def class_bounds(
    original: NDArray[np.int64],  # (n,) top class of the original
    small: NDArray[np.int64],  # (n,) top class of the small network
    delta: float,
) -> tuple[ClassBound, ...]:
    """Disagreement for each class that the original names; all of them at confidence 1 - delta.

    Theorem 1 (Clopper-Pearson) at delta divided by the number of these classes (Bonferroni). Which
    classes the original names, and how often, depends on the samples; given that, the samples of
    each class are independent and the theorem applies: `docs/theory/certificates.md`, section 6.
    """
    classes, counts = np.unique(original, return_counts=True)
    share = delta / len(classes)
    found = []
    for index, n in zip(classes.tolist(), counts.tolist(), strict=True):
        differ = int(np.count_nonzero(small[original == index] != index))
        found.append(
            ClassBound(
                index=index,
                n=n,
                disagreement=differ / n,
                disagreement_upper=clopper_pearson_upper(differ, n, share),
            )
        )
    return tuple(found)


def top_k_bound(outcomes: Outcomes, k: int | None, delta: float) -> TopKBound | None:
    """Drop of top-k accuracy (theorem 3), or how often the original's class is missed (theorem 1).

    None if no k was asked for.
    """
    if k is None or outcomes.ranks is None:
        return None
    first, second = (ranks < k for ranks in outcomes.ranks)
    if outcomes.labels is not None:
        drop, drop_upper = _drop(first, second, delta)
        return TopKBound(
            k=k,
            accuracy_drop=drop,
            accuracy_drop_upper=drop_upper,
            missed=None,
            missed_upper=None,
        )
    n, missed = len(second), int(np.count_nonzero(~second))
    return TopKBound(
        k=k,
        accuracy_drop=None,
        accuracy_drop_upper=None,
        missed=missed / n,
        missed_upper=clopper_pearson_upper(missed, n, delta),
    )


def _drop(
    right: NDArray[np.bool_],  # (n,) whether the original is right
    small_right: NDArray[np.bool_],  # (n,) whether the small network is
    delta: float,
) -> tuple[float, float]:
    """Observed fall of the accuracy, and its bound."""
    n = len(right)
    plus = int(np.count_nonzero(right & ~small_right))
    minus = int(np.count_nonzero(small_right & ~right))
    return (plus - minus) / n, paired_difference_upper(plus, minus, n, delta)
