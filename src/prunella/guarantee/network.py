"""From the bounds of the layers to a bound of the outputs, for plain chains with ReLU.

Theorem 2 of `docs/theory/sampling.md`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from prunella.bounds import conformal_samples_needed
from prunella.guarantee.measuring import Chain, Place
from prunella.guarantee.numbers import held_out_limit
from prunella.guarantee.results import VARIANTS, ChainLayer, GroupBound, NetworkBound

# Bounds of the cut groups at levels alpha and delta of their own.
GroupsAt = Callable[[float, float], Mapping[str, GroupBound]]


def not_applicable(reason: str, alpha: float, delta: float) -> NetworkBound:
    """No bound, for a reason."""
    return NetworkBound(reason=reason, alpha=alpha, delta=delta, share=0, layers=(), eps={})


def network_bound(
    chain: Chain,
    groups_at: GroupsAt,
    readers: Mapping[str, Sequence[Place]],  # cut group -> its consumers
    n: int,
    alpha: float,
    delta: float,
) -> NetworkBound:
    """The bound of the outputs; alpha is shared out to every C and kappa, delta to the draws."""
    if chain.reason:
        return not_applicable(chain.reason, alpha, delta)
    share = len(readers) + len(chain.places)
    needed = conformal_samples_needed(alpha / share)
    if n < needed:
        reason = f"alpha = {alpha:g} is shared out to {share} limits, which needs at least "
        reason += f"{needed:,} held-out samples, not {n:,}"
        return not_applicable(reason, alpha, delta)
    groups = groups_at(alpha / share, delta / len(readers))
    kappas = [
        held_out_limit(chain.kappas[:, place], alpha / share, "kappa")
        for place in range(len(chain.places))
    ]
    read = [
        tuple(name for name, places in readers.items() if place in places) for place in chain.places
    ]
    layers = list(zip(kappas, read, strict=True))
    eps = {
        variant: error_through(
            (kappa, sum(groups[name].bound(variant).eps for name in names))
            for kappa, names in layers
        )
        for variant in VARIANTS
    }
    return NetworkBound(
        reason="",
        alpha=alpha,
        delta=delta,
        share=share,
        layers=_layers(chain.places, kappas, read),
        eps=eps,
    )


def error_through(
    layers: Iterable[tuple[float, float]],  # kappa and eps of each
) -> float:
    """Relative error of the output when each layer's sums are off by eps; infinite beyond 1.

    e = kappa (e + (1 + e) eps) from layer to layer, as long as no e exceeds 1.
    """
    error = 0.0
    for kappa, eps in layers:
        if error > 0 or eps > 0:  # an exact layer stays so, whatever its kappa
            error = kappa * (error + (1 + error) * eps)
        if error > 1:
            return math.inf
    return error


def _layers(
    places: Sequence[Place], kappas: Sequence[float], read: Sequence[tuple[str, ...]]
) -> tuple[ChainLayer, ...]:
    cut = sum(bool(names) for names in read)
    found = []
    after = 1.0  # product of kappa from this layer on
    for (weight, _), kappa, names in reversed(list(zip(places, kappas, read, strict=True))):
        after *= kappa
        found.append(
            ChainLayer(
                name=weight.removesuffix(".weight"),
                groups=names,
                kappa=kappa,
                allowed=1 / (2 * cut * after) if names else None,
            )
        )
    return tuple(reversed(found))
