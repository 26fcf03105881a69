"""Particle filter recurrent networks: weighted particles in place of one hidden vector."""

from prunella.recurrent.base import ParticleFilterRNN
from prunella.recurrent.belief import Belief, Trajectory
from prunella.recurrent.draws import fixed_generator
from prunella.recurrent.gru import PFGRU
from prunella.recurrent.losses import (
    BeliefLoss,
    classification_loss,
    published_localisation_loss,
    regression_loss,
)
from prunella.recurrent.lstm import PFLSTM
from prunella.recurrent.mixture import PredictiveMixture
from prunella.recurrent.resampling import (
    draw_ancestors,
    log_proposal,
    resample,
    reweight,
    soft_log_weights,
    spread_points,
)

__all__ = [
    "PFGRU",
    "PFLSTM",
    "Belief",
    "BeliefLoss",
    "ParticleFilterRNN",
    "PredictiveMixture",
    "Trajectory",
    "classification_loss",
    "draw_ancestors",
    "fixed_generator",
    "log_proposal",
    "published_localisation_loss",
    "regression_loss",
    "resample",
    "reweight",
    "soft_log_weights",
    "spread_points",
]
