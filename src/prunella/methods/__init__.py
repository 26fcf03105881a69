"""Which channels stay: the methods and their registry.

A method is a scoring half (network and samples to one number for each channel) and a selecting
half (numbers and budget to the channels that stay). Each module but the registry's has one method
or one family, with its source and equation.
"""

# In the order in which the methods are listed.
# isort: off
from prunella.methods import pfp  # noqa: F401
from prunella.methods import filter_norm  # noqa: F401
from prunella.methods import fpgm, bn_scale, thinet, obs, taylor, uniform_random  # noqa: F401

# isort: on
from prunella.methods.registry import METHODS, Method, Selection, method, register_method
from prunella.methods.scoring import check_values, fitting_scores, score

__all__ = [
    "METHODS",
    "Method",
    "Selection",
    "check_values",
    "fitting_scores",
    "method",
    "register_method",
    "score",
]
