"""Running the scoring half of a method, and checking scores before the selecting half gets them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from prunella.core.errors import InputError
from prunella.core.progress import Progress, silent
from prunella.core.types import ChannelGraph, ChannelScores
from prunella.methods.registry import Method, score_by_sensitivity
from prunella.methods.registry import method as method_named
from prunella.sensitivity import PassStore, check_weights

_WORDS = {"samples": "samples", "labels": "samples with labels"}


def score(
    model: nn.Module,
    graph: ChannelGraph,
    loader: Iterable[object] | None = None,
    method: str = "pfp",
    *,
    seed: int = 0,
    resume: PassStore | None = None,
    progress: Progress = silent,
) -> ChannelScores:
    """Score every unit of every prunable group as a method does it.

    Args:
        model: Untouched.
        graph: Made by `trace` from this model.
        loader: Yields inputs (N, ...), or pairs of inputs and labels for methods that need them;
            None for methods that look at weights alone.
        method: A registered method that uses scores.
        seed: For methods that score a random part of what they could.
        resume: Where the pass keeps how far it has come; for methods with the scores of
            `sensitivities`, which see.
        progress: Reports batches.

    Raises:
        InputError: the method is unknown or uses no scores; it needs samples and there are none;
            it cannot score a group, which is named; or it cannot resume.
        DataError: the loader is empty, has no labels where they are needed, or holds values that
            are not finite.
    """
    chosen = method_named(method)
    if chosen.score is None:
        raise InputError(
            f"method {method!r} uses no scores: prunella.plan(graph, None, budget, "
            f"method={method!r}) needs none."
        )
    if loader is None and chosen.needs in ("samples", "labels"):
        raise InputError(
            f"method {method!r} needs {_WORDS[chosen.needs]}: give prunella.score a loader."
        )
    if resume is not None and not chosen.resumes:
        raise InputError(
            f"method {method!r} scores in its own way and cannot go on from {resume.source}; leave "
            "resume out."
        )
    check_weights(model)
    generator = torch.Generator().manual_seed(seed)
    half = chosen.score if resume is None else partial(score_by_sensitivity, resume=resume)
    found = half(
        model, graph, () if loader is None else loader, generator=generator, progress=progress
    )
    return _fitting(chosen, graph, found)


def fitting_scores(
    chosen: Method, graph: ChannelGraph, scores: ChannelScores | None
) -> ChannelScores | None:
    """The scores, checked, that a method may use; None for one that uses none.

    Raises:
        InputError: there are none though the method needs them, they are of another method, of
            another graph, negative or not finite.
    """
    if not chosen.uses_scores:
        return None
    if scores is None:
        raise InputError(
            f"method {chosen.name!r} needs scores: call prunella.score(model, graph, loader, "
            f"method={chosen.name!r}) first."
        )
    return _fitting(chosen, graph, scores)


def _fitting(chosen: Method, graph: ChannelGraph, scores: ChannelScores) -> ChannelScores:
    if scores.method not in chosen.takes:
        raise InputError(
            f"method {chosen.name!r} needs scores of {' or '.join(map(repr, chosen.takes))}, got "
            f"scores of method {scores.method!r}; make them with prunella.score(model, graph, "
            f"loader, method={chosen.name!r})."
        )
    check_values(scores, graph)
    return scores


def check_values(values: Mapping[str, Tensor], graph: ChannelGraph) -> None:
    """Raise InputError unless every prunable group has its finite scores of at least 0."""
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
