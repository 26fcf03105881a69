"""The bounds of a certificate that are asked for, in short words."""

from __future__ import annotations

import math
from dataclasses import dataclass

from prunella.core.certificates import Certificate
from prunella.core.certified import ClassBound, LossBound, TopKBound
from prunella.report import units
from prunella.report.units import SPACE


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One bound of a certificate.

    Attributes:
        label: What is bounded.
        bound: The bound.
        meaning: The bound in words.
        observed: What was seen on the certification samples; "" if not known.
    """

    label: str
    bound: str
    meaning: str
    observed: str


def further_claims(certificate: Certificate) -> list[Claim]:
    """The bounds that not every certificate has."""
    found = []
    if certificate.top_k is not None:
        found.append(_top_k_claim(certificate.top_k))
    if certificate.classes:
        found.append(_class_claim(certificate.classes))
    for loss in certificate.losses:
        found += _loss_claims(loss)
    return found + _layer_claims(certificate)


def _class_claim(classes: tuple[ClassBound, ...]) -> Claim:
    worst = max(classes, key=lambda bound: bound.disagreement_upper)
    return Claim(
        label="Another answer, by class",
        bound=f"{units.percent_up(worst.disagreement_upper)}{SPACE}%",
        meaning="Of the new samples to which the original gives one class, the small network gives "
        f"another to no more than this share, whichever of the {len(classes)} listed classes it "
        f"is; class {worst.index} has the largest bound.",
        observed=units.share(worst.disagreement, 2),
    )


def _top_k_claim(bound: TopKBound) -> Claim:
    if bound.accuracy_drop is not None and bound.accuracy_drop_upper is not None:
        return Claim(
            label=f"Loss of top-{bound.k} accuracy",
            bound=f"{units.percent_up(bound.accuracy_drop_upper)}{SPACE}points",
            meaning="On new samples it falls by no more than this."
            + (" (Below zero: it rises.)" if bound.accuracy_drop_upper < 0 else ""),
            observed=observed_loss(bound.accuracy_drop),
        )
    return Claim(
        label=f"Not among the best {bound.k}",
        bound=f"{units.percent_up(bound.missed_upper or 0.0)}{SPACE}%",
        meaning=f"The original's class is not among the {bound.k} best of the small network for no "
        "more than this share of new samples.",
        observed=units.share(bound.missed or 0.0, 2),
    )


def _loss_claims(bound: LossBound) -> list[Claim]:
    return [
        Claim(
            label=f"Mean of {bound.name}",
            bound=f"{units.percent_up(bound.mean_upper)}{SPACE}%",
            meaning="On new samples the mean of this loss of the small network, which is at most "
            f"100{SPACE}%, is no more than this.",
            observed=units.share(bound.mean, 2),
        ),
        Claim(
            label=f"Increase of {bound.name}",
            bound=f"{units.percent_up(bound.increase_upper)}{SPACE}points",
            meaning="It is no further than this above that of the original."
            + (" (Below zero: it is lower.)" if bound.increase_upper < 0 else ""),
            observed=observed_loss(bound.increase).replace("rise", "fall"),
        ),
    ]


def _layer_claims(certificate: Certificate) -> list[Claim]:
    known = [bound for bound in certificate.layers if bound.error_bound is not None]
    if not known:
        return []
    worst = max(known, key=lambda bound: bound.error_bound or 0.0)
    size = worst.error_bound or 0.0
    return [
        Claim(
            label="Change inside",
            bound=f"{units.percent_up(size)}{SPACE}%" if math.isfinite(size) else "not finite",
            meaning=f"For at least {100 * (1 - certificate.alpha):g}{SPACE}% of new samples the "
            "outputs of each listed layer that reads cut channels move by no more than this share "
            f"of their length; {worst.name} has the largest bound.",
            observed="",
        )
    ]


def observed_loss(drop: float) -> str:
    """An observed fall in percentage points, or a rise."""
    text = f"{100 * abs(drop):.2f}{SPACE}points"
    return f"a rise of {text}" if drop < 0 else text
