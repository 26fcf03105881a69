"""Sampling channels with replacement: probabilities, how many are drawn, and the error bound."""

from prunella.sampling.complexity import epsilon, sample_complexity
from prunella.sampling.probabilities import expected_unique, probabilities

__all__ = ["epsilon", "expected_unique", "probabilities", "sample_complexity"]
