"""What must be true for the bounds of a certificate to hold."""

from __future__ import annotations

from dataclasses import dataclass

from prunella.core.certificates import Certificate
from prunella.core.certified import Choice
from prunella.core.walks import claim

_DRAWS = (
    "The certification samples are independent draws from one distribution, and new samples "
    "come from the same one. Nothing is said about samples from elsewhere: a shift of the "
    "distribution, such as another camera, another season or deliberate attacks, is not "
    "covered."
)
_AS_CERTIFIED = (
    "Both networks are used as they were certified: in evaluation mode, with these weights and "
    "the same preparation of inputs. Other number formats or hardware may round differently."
)
_LOSSES = (
    "Losses are the functions of these names, with values from 0 to 1; their bounds are by "
    "betting on the samples in the order of their fingerprints, which does not depend on "
    "what the networks answer."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounded:
    """What a certificate bounds besides the disagreement and the outputs.

    Attributes:
        labelled: Whether accuracy.
        classes: Classes whose disagreement is bounded.
        top_k: Whether something for the k best classes.
        losses: Losses of the user's own; two bounds each.
        layers: Layers whose errors are bounded.
    """

    labelled: bool
    classes: int
    top_k: bool
    losses: int
    layers: int

    @staticmethod
    def by(certificate: Certificate) -> Bounded:
        """What this certificate bounds."""
        return Bounded(
            labelled=certificate.accuracy_drop is not None,
            classes=len(certificate.classes),
            top_k=certificate.top_k is not None,
            losses=len(certificate.losses),
            layers=len(certificate.layers),
        )

    @property
    def bounds(self) -> int:
        """How many bounds there are; those of all classes count as one, and so do the layers'."""
        return (
            2
            + self.labelled
            + bool(self.classes)
            + self.top_k
            + 2 * self.losses
            + bool(self.layers)
        )


def assumptions(bounded: Bounded, *, delta: float, used_samples: int) -> tuple[str, ...]:
    """The assumptions in words, the most important first.

    Args:
        bounded: What is bounded.
        delta: Probability that one given bound is wrong.
        used_samples: Samples recorded as used, none of which came again.
    """
    checked = (
        f"none of the {used_samples:,} samples recorded as used was among them, compared by "
        "fingerprint"
        if used_samples
        else "no record of used samples was given, so this was not checked"
    )
    return (
        _DRAWS,
        "The certification samples were not used to train, calibrate, choose or repair either "
        f"network ({checked}).",
        _together(bounded, delta),
        _AS_CERTIFIED,
        *_simultaneous(bounded, delta, 1),
        *([_LOSSES] if bounded.losses else []),
    )


def assumptions_of_choice(
    bounded: Bounded, choice: Choice, *, level: float, delta: float
) -> tuple[str, ...]:
    """The same for a network that was chosen on the certification samples.

    Args:
        bounded: What is bounded.
        choice: How it was chosen.
        level: What the risk of each candidate was tested against.
        delta: Probability that a given bound is wrong.
    """
    count = choice.candidates
    return (
        _DRAWS,
        f"The network was chosen on the certification samples, among {count} candidates that were "
        "fixed without them. The samples were not used to train, calibrate or repair any of these "
        "(compared by fingerprint with the calibration, retraining and selection samples).",
        f"The choice is accounted for. The candidates were tested one after another until one "
        f"failed, so that {claim(choice.risk, level)} with confidence {100 * (1 - delta):g} % "
        f"however many there are. The other bounds were each made at a {count}th of {delta:g}, and "
        "so hold for all candidates at once.",
        _together(bounded, delta),
        _AS_CERTIFIED,
        *_simultaneous(bounded, delta, count),
        *([_LOSSES] if bounded.losses else []),
    )


def _together(bounded: Bounded, delta: float) -> str:
    number = bounded.bounds
    return (
        f"Each bound on its own holds with confidence {100 * (1 - delta):g} %; all {number} "
        f"together with at least {max(0.0, 100 * (1 - number * delta)):g} %. The share of wrong "
        "certificates is counted over repeated draws of the certification samples."
    )


def _simultaneous(bounded: Bounded, delta: float, candidates: int) -> tuple[str, ...]:
    """What holds for all classes, or all layers, at once."""
    also = f" / {candidates}" if candidates > 1 else ""
    return tuple(
        f"The bounds of the {number} {many} count as one: each holds with delta{also} / {number} "
        f"({delta / candidates / number:.3g}), so that all of them hold together with confidence "
        f"{100 * (1 - delta):g} %."
        for many, number in (("classes", bounded.classes), ("layers", bounded.layers))
        if number > 1
    )
