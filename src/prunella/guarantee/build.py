"""Measure held-out samples and write down what follows for a plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray
from torch import nn

from prunella.bounds.checks import check_probability
from prunella.core.errors import DataError, InputError
from prunella.core.progress import Progress, silent
from prunella.core.types import ChannelGroup, ChannelScores
from prunella.guarantee.measuring import Measured, measure
from prunella.guarantee.network import network_bound, not_applicable
from prunella.guarantee.numbers import (
    floored,
    held_out_limit,
    hybrid_draws,
    random_draws,
    removal_error,
)
from prunella.guarantee.results import AprioriBounds, CutBound, GroupBound, percent
from prunella.guarantee.samples import HeldOut
from prunella.plans import Plan
from prunella.sensitivity import check_weights
from prunella.surgery import check_architecture

_INEXACT = "its channels share the statistics of a normalisation, so that removing some changes all"


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

    Theorems, assumptions and proofs: `docs/theory/sampling.md`, sections 2 to 4.

    Args:
        model: The network before the cut; untouched.
        plan: Made for it. What it keeps may depend on anything, the held-out samples included.
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
        DataError: the loader is empty, repeats a sample, yields one that informed the scores, or
            yields fewer than C needs; an activation is not finite; a group has only zero scores.
    """
    alpha, delta = check_probability("alpha", alpha), check_probability("delta", delta)
    check_architecture(model, plan.graph)
    check_weights(model)
    cut = [group for group in plan.graph.prunable if len(plan.kept[group.name]) < group.size]
    groups = [group for group in cut if group.exact]
    values = _values(cut, scores)
    held_out = HeldOut(scores.samples)
    shares = {group.name: floored(values[group.name]) for group in groups}
    found = measure(model, shares, groups, loader, held_out, progress)
    part = max(1, len(groups)) if simultaneous else 1
    left_out = {group.name: _INEXACT for group in cut if not group.exact}

    def at(alpha: float, delta: float) -> dict[str, GroupBound]:
        return {g.name: _group(g, plan, values[g.name], found, alpha, delta) for g in groups}

    return AprioriBounds(
        method=plan.method,
        alpha=alpha,
        delta=delta,
        simultaneous=simultaneous,
        n=held_out.count,
        by_group=at(alpha / part, delta / part),
        left_out=left_out,
        network=(
            not_applicable(f"{next(iter(left_out))}: {_INEXACT}", alpha, delta)
            if left_out
            else network_bound(found.chain, at, found.readers, held_out.count, alpha, delta)
        ),
        samples_digest=held_out.ids.digest,
        assumptions=_assumptions(scores, len(groups), alpha, delta, simultaneous=simultaneous),
    )


def _values(cut: list[ChannelGroup], scores: ChannelScores) -> Mapping[str, NDArray[np.float64]]:
    """The scores of the cut groups, (size,) each, checked."""
    if not cut:
        raise InputError(
            "the plan keeps every channel of every group; expected one that removes some. Make it "
            "with a smaller budget."
        )
    if scores.method != "pfp":
        raise InputError(
            f"the scores are of method {scores.method!r}; expected those of "
            "prunella.sensitivities, which are shares of sums, as the bounds are."
        )
    found = {}
    for group in cut:
        known = scores.by_group.get(group.name)
        if known is None or len(known) != group.size:
            had = "none" if known is None else f"{len(known)}"
            raise InputError(
                f"group {group.name!r} has {group.size} channels but {had} scores; compute the "
                "scores with the plan's graph."
            )
        found[group.name] = known.double().cpu().numpy()
        if not (np.isfinite(found[group.name]) & (found[group.name] >= 0)).all():
            raise InputError(
                f"group {group.name!r}: scores must be finite and not negative; compute them again."
            )
        if not found[group.name].any():
            raise DataError(
                f"group {group.name!r} ({group.size} channels): every sensitivity is 0 over "
                f"{scores.samples.count} samples; expected at least one positive. Use more varied "
                "calibration samples, or let the plan keep the whole group."
            )
    return found


def _group(
    group: ChannelGroup,
    plan: Plan,
    values: NDArray[np.float64],  # (size,)
    found: Measured,
    alpha: float,
    delta: float,
) -> GroupBound:
    scores, positive = floored(values), values > 0
    name = group.name
    kept, sums = len(plan.kept[name]), found.sums[name]
    removed = np.ones(group.size, dtype=bool)
    removed[plan.kept[name].numpy()] = False
    constant = held_out_limit(found.ratios[name], alpha, f"the constant C of group {name!r}")
    drawn = random_draws(scores, positive, kept, sums, delta, constant)
    mixed = hybrid_draws(scores, positive, kept, sums, delta, constant)
    return GroupBound(
        name=name,
        size=group.size,
        kept=kept,
        readers=tuple(weight.removesuffix(".weight") for weight, _ in found.readers[name]),
        constant=constant,
        total=float(scores.sum()),
        raised=int((~positive).sum()),
        sums=sums,
        alpha=alpha,
        delta=delta,
        deterministic=CutBound(
            variant="deterministic",
            eps=removal_error(scores, removed, constant),
            probability=1 - alpha,
            certain=kept,
            draws=0,
        ),
        random=CutBound(
            variant="random",
            eps=drawn.eps,
            probability=1 - alpha - (delta if drawn.draws else 0),
            certain=drawn.certain,
            draws=drawn.draws,
        ),
        hybrid=CutBound(
            variant="hybrid",
            eps=mixed.eps,
            probability=1 - alpha - (delta if mixed.draws else 0),
            certain=mixed.certain,
            draws=mixed.draws,
        ),
    )


def _assumptions(
    scores: ChannelScores, groups: int, alpha: float, delta: float, *, simultaneous: bool
) -> tuple[str, ...]:
    checked = (
        f"none of the {len(scores.samples.hashes):,} samples that informed the scores was among "
        "them, compared by fingerprint"
        if scores.samples.hashes
        else "the scores have no record of their samples, so this was not checked"
    )
    return (
        "The held-out samples and the new one are exchangeable given the scores and the network, "
        "as independent draws from one distribution are; samples that the network was trained on "
        f"are not like new ones ({checked}). New samples have no more sums than these.",
        "The probability is over the held-out samples, the new one and the draws together: it says "
        "what holds on average over sets of held-out samples, not for all new samples of this one.",
        "The bounds of all groups, for one way of cutting, hold together with probability at least "
        f"{percent(1 - alpha - delta)}."
        if simultaneous
        else "Each bound holds by itself; those of all groups together, for one way of cutting, "
        f"only with probability at least {percent(1 - groups * (alpha + delta))}.",
    )
