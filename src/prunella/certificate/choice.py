"""What may be said of a network that was chosen on the certification samples themselves."""

from __future__ import annotations

from dataclasses import replace

from prunella.certificate.words import Bounded, assumptions_of_choice
from prunella.core.certificates import Certificate
from prunella.core.certified import Choice


def certificate_of_choice(
    certificate: Certificate, choice: Choice, *, level: float, delta: float
) -> Certificate:
    """The certificate of the chosen network, each of whose bounds holds although it was chosen.

    The bound of the tested risk becomes the level of the walk (theorem 1 of
    `docs/theory/smallest.md`); its own bound from these samples is not covered by that theorem.
    The others stay as they are: they were made at delta divided by the number of candidates, so
    that with probability 1 - delta each of them holds for all candidates.

    Args:
        certificate: Of the chosen network, made at `delta / choice.candidates`.
        choice: How it was chosen.
        level: What the risk of each candidate was tested against.
        delta: Probability that a given bound is wrong.
    """
    tested_drop = choice.risk == "accuracy_drop"
    return replace(
        certificate,
        delta=delta,
        disagreement_upper=certificate.disagreement_upper if tested_drop else level,
        accuracy_drop_upper=level if tested_drop else certificate.accuracy_drop_upper,
        assumptions=assumptions_of_choice(
            Bounded.by(certificate), choice, level=level, delta=delta
        ),
        choice=choice,
    )
