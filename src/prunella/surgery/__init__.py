"""Cutting chosen units out of a copy of a model, and proving that the cut is faithful."""

from prunella.surgery.apply import check_architecture, cut, masked
from prunella.surgery.attention import with_own_attention
from prunella.surgery.config import follow_config
from prunella.surgery.optimizer import sliced_optimizer
from prunella.surgery.scales import scaled
from prunella.surgery.verify import verified_cut

__all__ = [
    "check_architecture",
    "cut",
    "follow_config",
    "masked",
    "scaled",
    "sliced_optimizer",
    "verified_cut",
    "with_own_attention",
]
