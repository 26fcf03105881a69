"""Confidence bounds for proportions, quantiles and means; arrays and numbers only, no networks."""

from prunella.bounds.binomial import clopper_pearson_lower, clopper_pearson_upper
from prunella.bounds.means import (
    betting_upper,
    clopper_pearson_difference_upper,
    hoeffding_upper,
    paired_difference_upper,
)
from prunella.bounds.quantiles import (
    conformal_rank,
    conformal_samples_needed,
    samples_needed,
    tolerance_limit,
    tolerance_rank,
)

__all__ = [
    "betting_upper",
    "clopper_pearson_difference_upper",
    "clopper_pearson_lower",
    "clopper_pearson_upper",
    "conformal_rank",
    "conformal_samples_needed",
    "hoeffding_upper",
    "paired_difference_upper",
    "samples_needed",
    "tolerance_limit",
    "tolerance_rank",
]
