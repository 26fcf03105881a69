"""Methods: how channels are scored, which of them stay, and under what name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from prunella.allocate import Allocation
from prunella.core.budgets import Budget
from prunella.core.errors import InputError
from prunella.core.progress import Progress
from prunella.core.types import ChannelGraph, ChannelScores
from prunella.sensitivity import PassStore, sensitivities

Needs = Literal["nothing", "weights", "samples", "labels"]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Selection:
    """The units that stay.

    Attributes:
        kept: Sorted int64 units for every prunable group.
        allocation: How their number was found.
        scales: For each group that needs it, by what the weights that read each kept unit are
            multiplied: float64, shape (kept,), in the order of `kept`.
    """

    kept: Mapping[str, Tensor]
    allocation: Allocation
    scales: Mapping[str, Tensor] = field(default_factory=lambda: MappingProxyType({}))


class Score(Protocol):
    """The scoring half of a method: any function or callable object of this form."""

    def __call__(
        self,
        model: nn.Module,
        graph: ChannelGraph,
        loader: Iterable[object],
        *,
        generator: torch.Generator,
        progress: Progress,
    ) -> ChannelScores:
        """Score every unit of every prunable group; larger is more worth keeping."""
        ...


class Select(Protocol):
    """The selecting half of a method: any function or callable object of this form."""

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
        name: What `score(method=...)`, `plan(method=...)` and `prune(method=...)` take.
        summary: One line for lists.
        select: The selecting half.
        score: The scoring half; None if the method uses no scores.
        needs: What the scoring half reads: "weights" alone, "samples", or samples with "labels".
        takes: Methods whose scores it can use.
    """

    name: str
    summary: str
    select: Select
    score: Score | None
    needs: Needs
    takes: tuple[str, ...]

    @property
    def uses_scores(self) -> bool:
        """Whether it needs scores."""
        return self.score is not None

    @property
    def resumes(self) -> bool:
        """Whether its scoring is a pass of `sensitivities`, which can go on after a stop."""
        return self.score is score_by_sensitivity


METHODS: dict[str, Method] = {}


def score_by_sensitivity(
    model: nn.Module,
    graph: ChannelGraph,
    loader: Iterable[object],
    *,
    generator: torch.Generator,
    progress: Progress,
    resume: PassStore | None = None,
) -> ChannelScores:
    """The scores of `sensitivities`, which the family "pfp" and methods without own ones use."""
    del generator
    return sensitivities(model, graph, loader, resume=resume, progress=progress)


def register_method(
    name: str,
    summary: str,
    *,
    uses_scores: bool = True,
    score: Score | None = None,
    needs: Needs = "samples",
    takes: tuple[str, ...] = (),
) -> Callable[[Select], Select]:
    """Add a method under a new name; use as a decorator of its selecting half.

    Args:
        name: The name; also of the scores that a scoring half of its own makes.
        summary: One line for lists.
        uses_scores: False for a method that chooses without any.
        score: Its scoring half, whose scores say `method=name`; without one the method gets the
            scores of `sensitivities`.
        needs: What that scoring half reads.
        takes: Other methods whose scores fit as well.

    Raises:
        InputError: the name is taken.
    """

    def register(select: Select) -> Select:
        if name in METHODS:
            raise InputError(f"method {name!r} is registered already; choose another name.")
        half = score or score_by_sensitivity
        METHODS[name] = Method(
            name=name,
            summary=summary,
            select=select,
            score=half if uses_scores else None,
            needs=needs if uses_scores else "nothing",
            takes=tuple(dict.fromkeys((name, *takes, *(() if score else ("pfp",))))),
        )
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
