"""A certificate in plain words; bounds are rounded up, so that the words never claim too much."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prunella.core.certificates import Certificate
    from prunella.core.certified import LossBound, TopKBound


def statement(certificate: Certificate) -> str:
    """All that is certified, in one paragraph."""
    parts = [
        f"Measured on {certificate.n:,} samples that were set aside for this. On new samples drawn "
        "like them, each of the following statements holds with confidence "
        f"{100 * (1 - certificate.delta):g} %:",
        f"the two networks name a different class for at most "
        f"{percent_up(certificate.disagreement_upper)} % of samples "
        f"(observed {100 * certificate.disagreement:.2f} %);",
    ]
    if certificate.accuracy_drop_upper is not None and certificate.accuracy_drop is not None:
        parts.append(_drop(certificate.accuracy_drop, certificate.accuracy_drop_upper))
    if certificate.top_k is not None:
        parts.append(_top_k(certificate.top_k))
    if certificate.classes:
        parts.append(_classes(certificate))
    parts.extend(map(_loss, certificate.losses))
    if certificate.layers:
        parts.append(_layers(certificate))
    parts.append(_outputs(certificate))
    parts.append("Samples that are not drawn like them are not covered.")
    return " ".join(parts)


def not_covered(certificate: Certificate) -> tuple[str, ...]:
    """What a reader might wrongly take the certificate to say; the most important first."""
    found = [
        "Samples of another kind than the certification samples: another source, drift over time, "
        "or inputs made to deceive.",
        "Single samples, and groups of samples that are not listed: the bounds are about samples "
        "on average, and one group may fare worse than the average."
        if certificate.classes
        else "Single samples, rare classes or subgroups: the bounds are about samples on average, "
        "and one group may fare worse than the average.",
        "Any other pair of networks: the bounds end with the next retraining, quantisation or "
        "conversion of either one.",
        "Speed, and the room that the networks take: measured on one machine, and not bounded.",
    ]
    if certificate.accuracy_drop_upper is None:
        found.append("Accuracy: the certification samples had no labels.")
    if certificate.logit_error_bound is None:
        found.append(
            f"The size of the outputs: {certificate.n:,} samples are too few for that bound"
            f"{_needed(certificate)}."
        )
    elif math.isinf(certificate.logit_error_bound):
        found.append(
            "The size of the outputs: the original's outputs are zero too often for a relative "
            "bound."
        )
    return tuple(found)


def _outputs(certificate: Certificate) -> str:
    bound = certificate.logit_error_bound
    if bound is None:
        return (
            f"there are too few samples to bound how far the outputs differ{_needed(certificate)}."
        )
    if math.isinf(bound):
        return (
            "no finite relative bound on the outputs exists, because the original's outputs are "
            "all zero too often."
        )
    return (
        f"for at least {100 * (1 - certificate.alpha):g} % of samples the outputs differ by at "
        f"most {percent_up(bound)} % of the length of the original's output."
    )


def _needed(certificate: Certificate) -> str:
    needed = certificate.samples_needed
    return "" if needed is None else f" (at least {needed:,} are needed)"


def _drop(observed: float, upper: float, what: str = "the accuracy") -> str:
    seen = f"(observed {'a fall' if observed >= 0 else 'a rise'} of {100 * abs(observed):.2f})"
    if upper < 0:  # the smallest certain rise, rounded down
        return (
            f"{what} rises by at least {math.floor(-upper * 1e4) / 100:.2f} percentage "
            f"points {seen};"
        )
    return f"{what} falls by at most {percent_up(upper)} percentage points {seen};"


def _top_k(bound: TopKBound) -> str:
    if bound.accuracy_drop is not None and bound.accuracy_drop_upper is not None:
        return _drop(bound.accuracy_drop, bound.accuracy_drop_upper, f"the top-{bound.k} accuracy")
    return (
        f"the original's class is not among the {bound.k} best of the small network for at most "
        f"{percent_up(bound.missed_upper or 0.0)} % of samples "
        f"(observed {100 * (bound.missed or 0.0):.2f} %);"
    )


def _classes(certificate: Certificate) -> str:
    """The worst bound; all of them are in the file."""
    number = len(certificate.classes)
    worst = max(certificate.classes, key=lambda bound: bound.disagreement_upper)
    each = f" (delta {_delta_of_each(certificate, number):.2g} for each)" if number > 1 else ""
    words = f"each of the {number} classes" if number > 1 else "the one class"
    return (
        f"of the samples to which the original gives a class, the small network gives another to "
        f"at most {percent_up(worst.disagreement_upper)} %, for {words} that the original names"
        f"{each}; this is the bound of class {worst.index}, which is the largest (observed "
        f"{100 * worst.disagreement:.2f} % of {worst.n:,} samples);"
    )


def _delta_of_each(certificate: Certificate, number: int) -> float:
    """What each of so many bounds was made at, which hold for all candidates of a search."""
    candidates = 1 if certificate.choice is None else certificate.choice.candidates
    return certificate.delta / number / candidates


def _loss(bound: LossBound) -> str:
    change = (
        f"at most {_number_up(bound.increase_upper)} above"
        if bound.increase_upper >= 0
        else f"at least {math.floor(-bound.increase_upper * 1e4) / 1e4:.4f} below"
    )
    return (
        f"the mean of the loss {bound.name!r} of the small network is at most "
        f"{_number_up(bound.mean_upper)} (observed {bound.mean:.4f});"
        f" it is {change} that of the original (observed {bound.increase:+.4f});"
    )


def _layers(certificate: Certificate) -> str:
    known = [b for b in certificate.layers if b.error_bound is not None]
    if not known:
        needed = certificate.layers[0].samples_needed
        return (
            "there are too few samples to bound how far the outputs of layers differ (at least "
            f"{needed:,} are needed);"
        )
    worst = max(known, key=lambda bound: bound.error_bound or 0.0)
    number = len(certificate.layers)
    size = worst.error_bound or 0.0
    far = "no finite share" if math.isinf(size) else f"at most {percent_up(size)} %"
    most = f"for at least {100 * (1 - certificate.alpha):g} % of samples"
    if number == 1:
        return f"{most} the output of {worst.name} differs by {far} of its length;"
    return (
        f"the outputs of each of {number} layers that read cut channels differ by {far} of their "
        f"length, {most} in each, and for all of these layers at once (delta "
        f"{_delta_of_each(certificate, number):.2g} for each); this is the bound of {worst.name}, "
        "which is the largest;"
    )


_MOST_PERCENT = 1e12


def percent_up(bound: float) -> str:
    """A bound in percent, rounded up at two decimals so that the words are never too strong."""
    if bound > _MOST_PERCENT:  # an output of nearly zero; the digits would mean nothing
        return f"10^{math.floor(math.log10(bound)) + 3}"
    # the small allowance keeps 0.03 from becoming 3.01 by binary rounding alone
    return f"{math.ceil(bound * 1e4 - 1e-7) / 100:,.2f}"


def _number_up(bound: float) -> str:
    return f"{math.ceil(bound * 1e4 - 1e-7) / 1e4:.4f}"
