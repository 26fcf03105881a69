"""Measure held-out samples and write down what follows for a plan."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from prunella.bounds.checks import check_probability
from prunella.core.progress import Progress, length, silent
from prunella.core.samples import SampleIds
from prunella.core.types import ChannelScores
from prunella.guarantee.bounding import bounds_from_measured, checked_scores, covered_groups
from prunella.guarantee.measuring import measure
from prunella.guarantee.numbers import floored
from prunella.guarantee.results import AprioriBounds
from prunella.guarantee.samples import HeldOut
from prunella.plans import Plan
from prunella.sensitivity import check_weights
from prunella.surgery import check_architecture


def a_priori(
    model: nn.Module,
    plan: Plan,
    scores: ChannelScores,
    loader: Iterable[object],
    *,
    alpha: float = 0.05,
    delta: float = 0.01,
    simultaneous: bool = False,
    progress: Progress = silent,
) -> AprioriBounds:
    """What provable filter pruning promises of a plan, from held-out samples, before the cut.

    For each cut group the constant C is measured: by how much the shares of a new sample may
    exceed the scores. It bounds the error of the sums that read the group, for the plan's cut and
    for draws that keep as many channels. At practical sizes many of these bounds are 1 or more and
    say nothing; that is reported as it is. What a finished network may be trusted for is the matter
    of `certify`.

    Theorems, assumptions and proofs: `docs/theory/sampling.md`, from "How many draws" on.

    Args:
        model: The network before the cut; untouched.
        plan: Made for it, without a look at the held-out samples.
        scores: From `sensitivities`.
        loader: Batches as for `sensitivities`; new to the scores and to the network's training.
        alpha: Probability that C is too small for a new sample.
        delta: Probability that the draws fail for a sample for which C is not too small.
        simultaneous: Let the bounds of all groups hold together with these probabilities, by
            giving each group an equal part of them (Bonferroni). As it is, each holds by itself.
        progress: Reports batches.

    Raises:
        InputError: alpha or delta is not in (0, 1), the scores are not sensitivities for the plan's
            groups, the plan removes nothing or is for another network, or the model holds NaN.
        DataError: the loader is empty, repeats a sample, yields one that informed the scores or the
            plan, or yields fewer than C needs; an activation is not finite; a group has only
            scores of 0.
    """
    alpha, delta = check_probability("alpha", alpha), check_probability("delta", delta)
    check_architecture(model, plan.graph)
    check_weights(model)
    values = checked_scores(plan, scores)
    groups = covered_groups(plan)
    held_out = HeldOut(SampleIds.union((scores.samples, plan.samples)))
    found = measure(
        model,
        {group.name: floored(values[group.name]) for group in groups},
        groups,
        progress(loader, description="held-out samples", total=length(loader)),
        held_out,
    )
    return bounds_from_measured(
        plan,
        scores,
        found,
        alpha=alpha,
        delta=delta,
        simultaneous=simultaneous,
        samples_digest=held_out.ids.digest,
    )
