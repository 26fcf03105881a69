"""Confidence bounds and p-values for proportions, quantiles and means; no networks."""

from prunella.bounds.binomial import clopper_pearson_lower, clopper_pearson_upper
from prunella.bounds.means import (
    betting_upper,
    empirical_bernstein_upper,
    hoeffding_bentkus_upper,
    hoeffding_upper,
)
from prunella.bounds.multiple import bonferroni, fixed_sequence, holm
from prunella.bounds.p_values import (
    betting_p_value,
    clopper_pearson_p_value,
    hoeffding_bentkus_p_value,
    paired_difference_p_value,
)
from prunella.bounds.paired import clopper_pearson_difference_upper, paired_difference_upper
from prunella.bounds.quantiles import (
    conformal_rank,
    conformal_samples_needed,
    samples_needed,
    tolerance_limit,
    tolerance_rank,
)

__all__ = [
    "betting_p_value",
    "betting_upper",
    "bonferroni",
    "clopper_pearson_difference_upper",
    "clopper_pearson_lower",
    "clopper_pearson_p_value",
    "clopper_pearson_upper",
    "conformal_rank",
    "conformal_samples_needed",
    "empirical_bernstein_upper",
    "fixed_sequence",
    "hoeffding_bentkus_p_value",
    "hoeffding_bentkus_upper",
    "hoeffding_upper",
    "holm",
    "paired_difference_p_value",
    "paired_difference_upper",
    "samples_needed",
    "tolerance_limit",
    "tolerance_rank",
]
