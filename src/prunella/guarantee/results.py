"""A-priori bounds as plain data, and in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, final

Variant = Literal["deterministic", "random", "hybrid"]
VARIANTS: tuple[Variant, ...] = ("deterministic", "random", "hybrid")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CutBound:
    """How far the sums that read one group may be off, for one way of cutting it.

    Attributes:
        variant: "deterministic" removes the channels that the plan removes and changes nothing
            else; "random" keeps what is drawn, and weights it; "hybrid" does so among all but the
            most sensitive channels.
        eps: Bound of the relative error of every sum of products of one sign.
        probability: Of the bound to hold for a new sample.
        certain: Number of channels that stay for certain.
        draws: Number of draws with replacement, in proportion to the scores; 0 if there are none.
    """

    variant: Variant
    eps: float
    probability: float
    certain: int
    draws: int

    @property
    def vacuous(self) -> bool:
        """Whether the bound says nothing: an error of 1 is that of removing everything."""
        return self.eps >= 1

    @property
    def words(self) -> str:
        """The way of cutting and its bound, in a few words."""
        draws = "1 draw" if self.draws == 1 else f"{self.draws:,} draws"
        certain = f"{self.certain:,} kept for certain, " if self.draws and self.certain else ""
        chance = f"with probability at least {percent(self.probability)}"
        return (
            f"{self.variant} ({certain}{draws if self.draws else 'no draws'}): "
            f"{rounded_up(self.eps)}{', vacuous' if self.vacuous else ' ' + chance}"
        )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class GroupBound:
    """The constant C of one group and what follows from it.

    Attributes:
        name: The group.
        size: Number of channels.
        kept: Number that the plan keeps.
        readers: The layers that read the channels; their sums are what is bounded.
        constant: C: a new sample's shares are at most C times the scores.
        total: Sum of the scores, those of 0 raised to the smallest positive one.
        raised: How many scores were 0.
        sums: Number of (output, position, sign) sums of the readers for one sample.
        alpha: Probability that C is too small for a new sample.
        delta: Probability that the draws fail for a sample for which C is not.
        deterministic: The plan's channels removed, nothing else changed.
        random: As many different channels, in expectation, drawn at random.
        hybrid: The most sensitive kept for certain, others drawn.
    """

    name: str
    size: int
    kept: int
    readers: tuple[str, ...]
    constant: float
    total: float
    raised: int
    sums: int
    alpha: float
    delta: float
    deterministic: CutBound
    random: CutBound
    hybrid: CutBound

    def bound(self, variant: Variant) -> CutBound:
        """The bound of one way of cutting."""
        bounds = {
            "deterministic": self.deterministic,
            "random": self.random,
            "hybrid": self.hybrid,
        }
        return bounds[variant]

    @property
    def statement(self) -> str:
        """The bounds in plain words; those of `AprioriBounds` say what the terms mean."""
        sums = f"the {self.sums:,} sums of {', '.join(self.readers)}"
        return (
            f"{self.name}, {self.kept:,} of {self.size:,} channels kept, C = "
            f"{rounded_up(self.constant)}: {sums} are off by at most these parts of themselves: "
            f"{'; '.join(self.bound(variant).words for variant in VARIANTS)}."
        )


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ChainLayer:
    """A layer of a sequential network, from the first that reads a cut group on.

    Attributes:
        name: The layer.
        groups: The cut groups that it reads.
        kappa: Bound of (z+ + z-) / |z|, the cancellation of signs, z with the bias.
        allowed: Largest relative error of this layer's sums with which the theorem gives an error
            of the output of at most 1; eps times it for an error of eps. None for a layer that
            reads no cut group.
    """

    name: str
    groups: tuple[str, ...]
    kappa: float
    allowed: float | None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkBound:
    """How far the network's outputs may be off, where that follows from its layers.

    Attributes:
        reason: Why nothing is said; "" if something is.
        alpha: Probability that some C or kappa is too small for a new sample.
        delta: Probability that the draws of some layer fail.
        share: How many limits alpha is shared out to.
        layers: In the order of the run; empty if nothing is said.
        eps: For each way of cutting, the bound of |z' - z| / |z| for every output z; infinite if
            the errors grow beyond what the theorem covers. Empty if nothing is said.
    """

    reason: str
    alpha: float
    delta: float
    share: int
    layers: tuple[ChainLayer, ...]
    eps: Mapping[Variant, float]

    def vacuous(self, variant: Variant) -> bool:
        """Whether the bound says nothing about the outputs."""
        return not self.eps.get(variant, math.inf) < 1

    @property
    def statement(self) -> str:
        """The bound in plain words."""
        if self.reason:
            return f"Network: not applicable, {self.reason}."
        parts = []
        for variant, eps in self.eps.items():
            chance = 1 - self.alpha - (0 if variant == "deterministic" else self.delta)
            if not self.vacuous(variant):
                parts.append(
                    f"{variant}: every output is off by at most {rounded_up(eps)} times its own "
                    f"size, with probability at least {percent(chance)}"
                )
        nothing = [variant for variant in self.eps if self.vacuous(variant)]
        if nothing:
            parts.append(f"{', '.join(nothing)}: vacuous, errors grow too large on the way")
        return f"Network: {'; '.join(parts)}."


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class AprioriBounds:
    """What provable filter pruning promises of a plan before anything is cut.

    Attributes:
        method: The plan's method.
        alpha: Probability, for each group, that C is too small for a new sample.
        delta: Probability, for each group, that draws fail.
        simultaneous: Whether the groups' bounds hold all together with these probabilities.
        n: Number of held-out samples.
        by_group: The bounds of each group that the plan cuts.
        left_out: Cut groups to which the theorem does not apply, with the reason.
        network: The bound for the outputs.
        samples_digest: Name of the set of held-out samples.
        assumptions: What must be true for the bounds to hold.
    """

    method: str
    alpha: float
    delta: float
    simultaneous: bool
    n: int
    by_group: Mapping[str, GroupBound]
    left_out: Mapping[str, str]
    network: NetworkBound
    samples_digest: str
    assumptions: tuple[str, ...]

    @property
    def statement(self) -> str:
        """All bounds in plain words."""
        parts = [
            f"Measured on {self.n:,} held-out samples, for a new sample drawn like them. Each "
            "bound is about the positive and negative sums of the layers that read one group, cut "
            "by itself in an otherwise unchanged network. Deterministic: the channels that the "
            "plan removes are removed, and nothing else changes. Random: channels are drawn with "
            "replacement with probabilities p in proportion to the scores, and one drawn k times "
            "of m is multiplied by k / (m p). Hybrid: the same among all but the most sensitive, "
            "which stay as they are. A bound of 1 or more is vacuous: removing everything is an "
            "error of 1.",
            *(group.statement for group in self.by_group.values()),
            *(f"{name}: no bound, {reason}." for name, reason in self.left_out.items()),
            self.network.statement,
            *self.assumptions,
        ]
        return "\n".join(parts)

    def __str__(self) -> str:
        head = ("group", "kept", "C", "sum of s", "deterministic", "random", "hybrid")
        rows = [head, *(_row(group) for group in self.by_group.values())]
        widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
        each = "all groups together" if self.simultaneous else "each group"
        lines = [
            f"a-priori bounds from {self.n:,} held-out samples; {each}: alpha = {self.alpha:g}, "
            f"delta = {self.delta:g}"
        ]
        lines += [
            "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            for row in rows
        ]
        lines += [f"  {name}: no bound, {reason}" for name, reason in self.left_out.items()]
        return "\n".join([*(line.rstrip() for line in lines), self.network.statement])


def _row(group: GroupBound) -> tuple[str, ...]:
    cells = []
    for variant in VARIANTS:
        bound = group.bound(variant)
        certain = f"{bound.certain:,} certain + " if bound.draws and bound.certain else ""
        draws = f" ({certain}{bound.draws:,} draws)" if bound.draws else ""
        cells.append(f"{rounded_up(bound.eps)}{draws}{' vacuous' if bound.vacuous else ''}")
    return (
        group.name,
        f"{group.kept:,} of {group.size:,}",
        rounded_up(group.constant),
        rounded_up(group.total),
        *cells,
    )


def percent(probability: float) -> str:
    """A probability in percent, rounded down so that the words are never too strong."""
    return f"{math.floor(max(0.0, probability) * 1e4 + 1e-7) / 100:g} %"


def rounded_up(value: float) -> str:
    """Three digits, rounded up so that the words are never too strong."""
    if math.isinf(value):
        return "infinite"
    if value == 0:
        return "0"
    unit = 10.0 ** (math.floor(math.log10(value)) - 2)
    return f"{math.ceil(value / unit - 1e-7) * unit:.3g}"
