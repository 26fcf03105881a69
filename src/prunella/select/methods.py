"""Methods: from scores and a budget to the units that stay."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from prunella.allocate import Allocation, shared_error, uniform
from prunella.core.budgets import Budget
from prunella.core.errors import InputError
from prunella.core.types import ChannelGraph, ChannelScores


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Selection:
    """The units that stay.

    Attributes:
        kept: Sorted int64 units for every prunable group.
        allocation: How their number was found.
    """

    kept: Mapping[str, Tensor]
    allocation: Allocation


class Select(Protocol):
    """A method: any function or callable object of this form."""

    def __call__(
        self,
        graph: ChannelGraph,
        scores: ChannelScores | None,
        budget: Budget,
        *,
        multiple: int,
        generator: torch.Generator,
    ) -> Selection:
        """Choose the units to keep."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A registered method.

    Attributes:
        name: What `plan(method=...)` takes.
        summary: One line for lists.
        select: The function.
        uses_scores: Whether it needs the scores of `sensitivities`.
    """

    name: str
    summary: str
    select: Select
    uses_scores: bool


METHODS: dict[str, Method] = {}


def register_method(
    name: str, summary: str, *, uses_scores: bool = True
) -> Callable[[Select], Select]:
    """Add a method under a new name; use as a decorator.

    Raises:
        InputError: the name is taken.
    """

    def register(select: Select) -> Select:
        if name in METHODS:
            raise InputError(f"method {name!r} is registered already; choose another name.")
        METHODS[name] = Method(name=name, summary=summary, select=select, uses_scores=uses_scores)
        return select

    return register


def method(name: str) -> Method:
    """The method of that name.

    Raises:
        InputError: there is none; the message lists those that exist.
    """
    if name not in METHODS:
        raise InputError(f"unknown method {name!r}; available methods: {', '.join(METHODS)}.")
    return METHODS[name]


@register_method("pfp", "keep the most sensitive channels; one error bound shared by all layers")
def pfp(
    graph: ChannelGraph,
    scores: ChannelScores | None,
    budget: Budget,
    *,
    multiple: int,
    generator: torch.Generator,
) -> Selection:
    """Deterministic provable filter pruning.

    Source: Liebenwein et al., "Provable Filter Pruning for Efficient Neural Networks", ICLR 2020:
    the sampling-based allocation with the largest sensitivities kept.
    """
    del generator
    known = _require(scores, graph, "pfp")
    if known.method != "pfp":
        raise InputError(
            f"method 'pfp' needs sensitivities, got scores of method {known.method!r}."
        )
    allocation = shared_error(graph, known, budget, multiple=multiple)
    return _largest(graph, known.by_group, allocation)


@register_method("filter-norm", "keep the filters of largest L2 norm; one fraction for all layers")
def filter_norm(
    graph: ChannelGraph,
    scores: ChannelScores | None,
    budget: Budget,
    *,
    multiple: int,
    generator: torch.Generator,
) -> Selection:
    """Largest L2 norm of the producing weights, as in Li et al., ICLR 2017, with L2 for L1."""
    del generator
    norms = _require(scores, graph, "filter-norm").filter_norms
    _check_values(norms, graph)
    return _largest(graph, norms, uniform(graph, budget, multiple=multiple))


@register_method(
    "random", "keep channels at random; one fraction for all layers", uses_scores=False
)
def uniform_random(
    graph: ChannelGraph,
    scores: ChannelScores | None,
    budget: Budget,
    *,
    multiple: int,
    generator: torch.Generator,
) -> Selection:
    """A uniformly random subset of each group: what any method must beat."""
    del scores
    allocation = uniform(graph, budget, multiple=multiple)
    drawn = {
        group.name: torch.rand(group.size, generator=generator, dtype=torch.float64)
        for group in graph.prunable
    }
    return _largest(graph, drawn, allocation)


def _largest(
    graph: ChannelGraph, values: Mapping[str, Tensor], allocation: Allocation
) -> Selection:
    """Keep the largest; of equal ones those that come first, so that ties do not depend on luck."""
    kept = {}
    for group in graph.prunable:
        order = torch.argsort(values[group.name], descending=True, stable=True)
        kept[group.name] = order[: allocation.kept[group.name]].sort().values
    return Selection(kept=kept, allocation=allocation)


def _require(scores: ChannelScores | None, graph: ChannelGraph, name: str) -> ChannelScores:
    if scores is None:
        raise InputError(f"method {name!r} needs scores: call prunella.sensitivities first.")
    _check_values(scores, graph)
    return scores


def _check_values(values: Mapping[str, Tensor], graph: ChannelGraph) -> None:
    for group in graph.prunable:
        found = values.get(group.name)
        if found is None or len(found) != group.size:
            had = "none" if found is None else f"{len(found)}"
            raise InputError(
                f"group {group.name!r} has {group.size} units but {had} scores; compute the scores "
                "with the same graph."
            )
        if not bool(torch.isfinite(found).all()) or bool((found < 0).any()):
            raise InputError(
                f"group {group.name!r}: scores must be finite and not negative; compute them again."
            )
