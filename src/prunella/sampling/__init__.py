"""Sampling channels with replacement: probabilities, draws and weights, and the error bound."""

from prunella.sampling.complexity import epsilon, sample_complexity
from prunella.sampling.draws import draw_multinomial, draw_systematic, draw_unique, reweighting
from prunella.sampling.probabilities import (
    draws_for_unique,
    expected_unique,
    inclusion,
    probabilities,
)
from prunella.sampling.splitting import Split, split, split_channels

__all__ = [
    "Split",
    "draw_multinomial",
    "draw_systematic",
    "draw_unique",
    "draws_for_unique",
    "epsilon",
    "expected_unique",
    "inclusion",
    "probabilities",
    "reweighting",
    "sample_complexity",
    "split",
    "split_channels",
]
