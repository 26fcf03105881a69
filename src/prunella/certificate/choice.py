"""What may be said of a network that was chosen on the certification samples themselves."""

from __future__ import annotations

from dataclasses import replace

from prunella.core.certificates import Certificate
from prunella.core.certified import Choice
from prunella.core.walks import claim


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
        assumptions=_assumptions(
            choice,
            level=level,
            delta=delta,
            labelled=certificate.accuracy_drop is not None,
        ),
        choice=choice,
    )


def _assumptions(choice: Choice, *, level: float, delta: float, labelled: bool) -> tuple[str, ...]:
    count = choice.candidates
    bounds = 3 if labelled else 2
    return (
        "The certification samples are independent draws from one distribution, and new samples "
        "come from the same one. Nothing is said about samples from elsewhere: a shift of the "
        "distribution, such as another camera, another season or deliberate attacks, is not "
        "covered.",
        f"The network was chosen on the certification samples, among {count} candidates that were "
        "fixed without them. The samples were not used to train, calibrate or repair any of these "
        "(compared by fingerprint with the calibration, retraining and selection samples).",
        f"The choice is accounted for. The candidates were tested one after another until one "
        f"failed, so that {claim(choice.risk, level)} with confidence {100 * (1 - delta):g} % "
        f"however many there are. The other bounds were each made at a {count}th of {delta:g}, and "
        "so hold for all candidates at once.",
        f"Each bound on its own holds with confidence {100 * (1 - delta):g} %; all {bounds} "
        f"together with at least {max(0.0, 100 * (1 - bounds * delta)):g} %. The share of "
        "wrong certificates is counted over repeated draws of the certification samples.",
        "Both networks are used as they were certified: in evaluation mode, with these weights and "
        "the same preparation of inputs. Other number formats or hardware may round differently.",
    )
