"""The parts of a certificate that are asked for, and what a number in one may be."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeGuard

from prunella.core.walks import RISKS


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassBound:
    """Disagreement among the samples to which the original gives one class.

    Attributes:
        index: The class, counted from 0.
        n: Certification samples to which the original gives it.
        disagreement: Observed share of these that the small network gives another class.
        disagreement_upper: Upper bound for the probability of that among new samples to which the
            original gives this class. The bounds of all listed classes hold together with
            confidence 1 - delta of the certificate.
    """

    index: int
    n: int
    disagreement: float
    disagreement_upper: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TopKBound:
    """As for the single best class, for the k best.

    Attributes:
        k: How many classes count.
        accuracy_drop: Observed top-k accuracy of the original minus that of the small network;
            None without labels.
        accuracy_drop_upper: Upper bound for the expected drop; None without labels.
        missed: Observed share of samples on which the original's class is not among the k best of
            the small network; None with labels.
        missed_upper: Upper bound for the probability of that; None with labels.
    """

    k: int
    accuracy_drop: float | None
    accuracy_drop_upper: float | None
    missed: float | None
    missed_upper: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LossBound:
    """A loss between 0 and 1 that the user defined.

    Attributes:
        name: Its name.
        mean: Observed mean loss of the small network.
        mean_upper: Upper bound for the expected loss of the small network.
        increase: Observed mean loss of the small network minus that of the original.
        increase_upper: Upper bound for the expected increase.
    """

    name: str
    mean: float
    mean_upper: float
    increase: float
    increase_upper: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerBound:
    """How far the output of one layer that reads fewer channels strays.

    Attributes:
        name: The layer.
        error_bound: |small - original| <= bound * |original| in the L2 norm of its output, on the
            channels that stay, for a share of at least 1 - alpha of new samples; infinity if the
            original's output is zero too often for a relative one; None if n is too small. The
            bounds of all listed layers hold together with confidence 1 - delta of the certificate.
        samples_needed: Samples that such a bound takes at least.
    """

    name: str
    error_bound: float | None
    samples_needed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """How a network was chosen on the certification samples themselves.

    Attributes:
        risk: The tested risk, "accuracy_drop" or "disagreement"; its bound in the certificate is
            the level of the tests, which holds whatever was tried before.
        candidates: How many networks were fixed beforehand; the other bounds hold for all of them
            together, because each was made at delta divided by their number.
    """

    risk: str
    candidates: int


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is a finite number."""
    # a comparison, because math.isfinite fails on integers beyond the range of floats
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < math.inf


def is_share(value: object) -> bool:
    """Whether it is a number from 0 to 1."""
    return is_number(value) and 0 <= value <= 1


def is_level(value: object) -> bool:
    """Whether it is a number between 0 and 1."""
    return is_share(value) and value not in (0, 1)


def is_difference(value: object) -> bool:
    """Whether it is a number from -1 to 1, or None."""
    return value is None or (is_number(value) and -1 <= value <= 1)


def is_size(value: object) -> bool:
    """Whether it is a number from 0 on, infinity, or None."""
    return value is None or value == math.inf or (is_number(value) and value >= 0)


def is_whole(value: object, *, low: int = 0) -> bool:
    """Whether it is a whole number of at least `low` that can be a count."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value < 2**63


def is_class_bound(value: object) -> bool:
    """Whether it can be part of a certificate."""
    return (
        isinstance(value, ClassBound)
        and is_whole(value.index)
        and is_whole(value.n, low=1)
        and is_share(value.disagreement)
        and is_share(value.disagreement_upper)
        and value.disagreement <= value.disagreement_upper
    )


def is_top_k_bound(value: object) -> bool:
    """Whether it can be part of a certificate, or None."""
    if value is None:
        return True
    if not isinstance(value, TopKBound) or not is_whole(value.k, low=1):
        return False
    drop, missed = (
        (value.accuracy_drop, value.accuracy_drop_upper),
        (value.missed, value.missed_upper),
    )
    if None in missed:
        return missed == (None, None) and None not in drop and all(map(is_difference, drop))
    return drop == (None, None) and all(map(is_share, missed))


def is_loss_bound(value: object) -> bool:
    """Whether it can be part of a certificate."""
    return (
        isinstance(value, LossBound)
        and isinstance(value.name, str)
        and bool(value.name)
        and is_share(value.mean)
        and is_share(value.mean_upper)
        and is_number(value.increase)
        and is_number(value.increase_upper)
        and is_difference(value.increase)
        and is_difference(value.increase_upper)
    )


def is_layer_bound(value: object) -> bool:
    """Whether it can be part of a certificate."""
    return (
        isinstance(value, LayerBound)
        and isinstance(value.name, str)
        and bool(value.name)
        and is_size(value.error_bound)
        and is_whole(value.samples_needed, low=1)
    )


def is_choice(value: object) -> bool:
    """Whether it can be part of a certificate, or None."""
    return value is None or (
        isinstance(value, Choice) and value.risk in RISKS and is_whole(value.candidates, low=1)
    )
