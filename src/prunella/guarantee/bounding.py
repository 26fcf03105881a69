"""From measured numbers to the bounds of a plan; no model is run here."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from prunella.core.errors import DataError, InputError
from prunella.core.types import ChannelGroup, ChannelScores
from prunella.guarantee.measuring import Measured
from prunella.guarantee.network import network_bound, not_applicable
from prunella.guarantee.numbers import (
    Draws,
    fixed_error,
    floored,
    held_out_limit,
    hybrid_draws,
    random_draws,
)
from prunella.guarantee.results import AprioriBounds, CutBound, GroupBound, Variant, percent
from prunella.plans import Plan

_INEXACT = "its channels share the statistics of a normalisation, so that removing some changes all"


def covered_groups(plan: Plan) -> tuple[ChannelGroup, ...]:
    """The cut groups that the theorem applies to."""
    return tuple(group for group in _cut(plan) if group.exact)


def checked_scores(plan: Plan, scores: ChannelScores) -> dict[str, NDArray[np.float64]]:
    """The scores of the cut groups, (size,) each.

    Raises:
        InputError: the plan removes nothing, or the scores are not sensitivities for its groups.
        DataError: a group has only zero scores.
    """
    cut = _cut(plan)
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


def bounds_from_measured(
    plan: Plan,
    scores: ChannelScores,
    found: Measured,
    *,
    alpha: float,
    delta: float,
    simultaneous: bool,
    samples_digest: str,
) -> AprioriBounds:
    """The bounds that follow for a plan from what was measured; see `a_priori`."""
    groups, values = covered_groups(plan), checked_scores(plan, scores)
    part = max(1, len(groups)) if simultaneous else 1
    left_out = {group.name: _INEXACT for group in _cut(plan) if not group.exact}

    def at(alpha: float, delta: float) -> dict[str, GroupBound]:
        return {g.name: _group(g, plan, values[g.name], found, alpha, delta) for g in groups}

    return AprioriBounds(
        method=plan.method,
        alpha=alpha,
        delta=delta,
        simultaneous=simultaneous,
        n=found.n,
        by_group=at(alpha / part, delta / part),
        left_out=left_out,
        network=(
            not_applicable(f"{next(iter(left_out))}: {_INEXACT}", alpha, delta)
            if left_out
            else network_bound(found.chain, at, found.readers, found.n, alpha, delta)
        ),
        samples_digest=samples_digest,
        assumptions=_assumptions(scores, len(groups), alpha, delta, simultaneous=simultaneous),
    )


def _cut(plan: Plan) -> list[ChannelGroup]:
    return [group for group in plan.graph.prunable if len(plan.kept[group.name]) < group.size]


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
    weights = np.zeros(group.size)
    weights[plan.kept[name].numpy()] = 1
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
            eps=fixed_error(scores, weights, constant),
            probability=1 - alpha,
            certain=kept,
            draws=0,
        ),
        random=_by_draws("random", drawn, alpha, delta),
        hybrid=_by_draws("hybrid", mixed, alpha, delta),
    )


def _by_draws(variant: Variant, drawn: Draws, alpha: float, delta: float) -> CutBound:
    return CutBound(
        variant=variant,
        eps=drawn.eps,
        probability=1 - alpha - (delta if drawn.draws else 0),
        certain=drawn.certain,
        draws=drawn.draws,
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
