"""What must be true for the bounds of a certificate to hold."""

from __future__ import annotations


def assumptions(
    *,
    delta: float,
    used_samples: int,
    labelled: bool,
    classes: int,
    top_k: bool,
    losses: int,
    layers: int = 0,
) -> tuple[str, ...]:
    """The assumptions in words, the most important first.

    Args:
        delta: Probability that one given bound is wrong.
        used_samples: Samples recorded as used, none of which came again.
        labelled: Whether accuracy is bounded.
        classes: Classes whose disagreement is bounded.
        top_k: Whether something is bounded for the k best classes.
        losses: Losses of the user's own; two bounds each.
        layers: Layers whose errors are bounded.
    """
    checked = (
        f"none of the {used_samples:,} samples recorded as used was among them, compared by "
        "fingerprint"
        if used_samples
        else "no record of used samples was given, so this was not checked"
    )
    bounds = 2 + labelled + bool(classes) + top_k + 2 * losses + bool(layers)
    found = [
        "The certification samples are independent draws from one distribution, and new samples "
        "come from the same one. Nothing is said about samples from elsewhere: a shift of the "
        "distribution, such as another camera, another season or deliberate attacks, is not "
        "covered.",
        "The certification samples were not used to train, calibrate, choose or repair either "
        f"network ({checked}).",
        f"Each bound on its own holds with confidence {100 * (1 - delta):g} %; all {bounds} "
        f"together with at least {max(0.0, 100 * (1 - bounds * delta)):g} %. The share of wrong "
        "certificates is counted over repeated draws of the certification samples.",
        "Both networks are used as they were certified: in evaluation mode, with these weights and "
        "the same preparation of inputs. Other number formats or hardware may round differently.",
    ]
    found += [
        f"The bounds of the {number} {many} count as one: each holds with delta / {number} "
        f"({delta / number:.3g}), so that all of them hold together with confidence "
        f"{100 * (1 - delta):g} %."
        for many, number in (("classes", classes), ("layers", layers))
        if number > 1
    ]
    if losses:
        found.append(
            "Losses are the functions of these names, with values from 0 to 1; their bounds are by "
            "betting on the samples in the order of their fingerprints, which does not depend on "
            "what the networks answer."
        )
    return tuple(found)
