"""Provable filter pruning: the most sensitive channels stay, for certain or by chance.

    n_l = E[different channels in m_l(eps) draws],   p_j = s_j / S
    pfp             the n_l largest s_j, weights as they are
    pfp-random      n_l channels drawn with replacement, what reads channel j times n_j / (m p_j)
    pfp-hybrid      the k largest for certain, the other n_l - k drawn among the rest, with the k
                    that makes the bound smallest; k = n_l is pfp
    pfp-systematic  n_l channels drawn systematically: the same chances with less variance

All from the scores of `sensitivities` and one error eps that the groups share. The weights of the
draws make sums unbiased right after the cut; a repair by least squares does not keep that.

Source: Liebenwein, Baykal, Lang, Feldman, Rus, "Provable filter pruning for efficient neural
networks", ICLR 2020, sections 3.2 to 3.4. How draws meet a budget that counts channels is our own:
`docs/theory/sampling.md`, section 5.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from prunella.allocate import DELTA, shared_error
from prunella.core.budgets import Budget
from prunella.core.types import ChannelGraph, ChannelScores
from prunella.methods.ranking import largest, required
from prunella.methods.registry import Selection, register_method
from prunella.sampling import (
    draw_systematic,
    draw_unique,
    inclusion,
    probabilities,
    reweighting,
    split_channels,
)

Weights = NDArray[np.float64]
# Scores, number of channels that stay and number of sums to the weight of each channel; 0 goes.
Draw = Callable[[Weights, int, int, np.random.Generator], Weights]


@register_method("pfp", "keep the most sensitive channels; one error bound shared by all layers")
def pfp(
    graph: ChannelGraph,
    scores: ChannelScores | None,
    budget: Budget,
    *,
    multiple: int,
    generator: torch.Generator,
) -> Selection:
    """The largest sensitivities stay: without chance, and without weights."""
    del generator
    known = required(scores)
    allocation = shared_error(graph, known, budget, multiple=multiple)
    return largest(graph, known.by_group, allocation)


@register_method("pfp-random", "draw channels by their sensitivity, and weight them")
def pfp_random(
    graph: ChannelGraph,
    scores: ChannelScores | None,
    budget: Budget,
    *,
    multiple: int,
    generator: torch.Generator,
) -> Selection:
    """Independent draws with replacement, until one channel too many turns up."""
    return _drawn(_by_draws, graph, required(scores), budget, multiple, generator)


@register_method("pfp-hybrid", "keep the most sensitive for certain, and draw the rest")
def pfp_hybrid(
    graph: ChannelGraph,
    scores: ChannelScores | None,
    budget: Budget,
    *,
    multiple: int,
    generator: torch.Generator,
) -> Selection:
    """As many for certain as make the bound smallest, from none to all."""
    return _drawn(_by_both, graph, required(scores), budget, multiple, generator)


@register_method("pfp-systematic", "as pfp-random, with evenly spaced draws that vary less")
def pfp_systematic(
    graph: ChannelGraph,
    scores: ChannelScores | None,
    budget: Budget,
    *,
    multiple: int,
    generator: torch.Generator,
) -> Selection:
    """Every channel stays with the probability that m evenly spaced draws give it."""
    return _drawn(_by_even_draws, graph, required(scores), budget, multiple, generator)


def _by_draws(scores: Weights, count: int, sums: int, generator: np.random.Generator) -> Weights:
    del sums
    chances = probabilities(scores)
    return reweighting(draw_unique(chances, count, generator=generator), chances)


def _by_even_draws(
    scores: Weights, count: int, sums: int, generator: np.random.Generator
) -> Weights:
    del sums
    chances = inclusion(scores, count)
    drawn = draw_systematic(chances / count, count, generator=generator)
    return np.divide(drawn, chances, out=np.zeros_like(chances), where=drawn > 0)


def _by_both(scores: Weights, count: int, sums: int, generator: np.random.Generator) -> Weights:
    certain = split_channels(scores, count, sums, DELTA).certain
    order = np.argsort(-scores, kind="stable")
    weights = np.ones_like(scores)
    rest = order[certain:]
    weights[rest] = 0
    if certain < count:
        weights[rest] = _by_draws(scores[rest], count - certain, 0, generator)
    return weights


def _drawn(
    draw: Draw,
    graph: ChannelGraph,
    scores: ChannelScores,
    budget: Budget,
    multiple: int,
    generator: torch.Generator,
) -> Selection:
    """Exactly as many channels of each group as the allocation says, by a draw of weights."""
    allocation = shared_error(graph, scores, budget, multiple=multiple)
    seed = int(torch.randint(2**63 - 1, (), generator=generator))
    numbers = np.random.default_rng(seed)
    kept, scales = {}, {}
    for group in graph.prunable:
        values = scores[group.name].double().numpy()
        count = allocation.kept[group.name]
        if count >= int((values > 0).sum()):
            # All that contribute stay as they are, and of the others those that come first.
            order = np.argsort(-values, kind="stable")
            kept[group.name] = torch.from_numpy(np.sort(order[:count]))
            continue
        weights = draw(values, count, scores.sums[group.name], numbers)
        kept[group.name] = torch.from_numpy(np.flatnonzero(weights))
        if ((weights != 0) & (weights != 1)).any():
            scales[group.name] = torch.from_numpy(weights[weights > 0])
    return Selection(kept=kept, allocation=allocation, scales=scales)
