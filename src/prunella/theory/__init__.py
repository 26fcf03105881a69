"""Test errors of pruned linear models, predicted: train small, or prune large?"""

from prunella.theory.advice import Advice, advise, answer, model_sizes
from prunella.theory.characterize import Law, characterize, solve_xi
from prunella.theory.comparing import Comparison, compare
from prunella.theory.correlated import (
    CorrelatedProblem,
    make_correlated,
    sampled_risks,
    simulate_correlated,
)
from prunella.theory.families import FAMILIES, Spectrum, family
from prunella.theory.predicting import predict, predict_problem, predict_sizes
from prunella.theory.problem import RISKS, Prediction, Problem, make_problem
from prunella.theory.pruned import (
    Kept,
    keep_by_rule,
    keep_support,
    oracle_support,
    pruned_risk,
)
from prunella.theory.random_features import (
    draw_weights,
    feature_covariance,
    random_feature_problem,
    simulate_random_features,
)
from prunella.theory.rank_one import RankOneRisks, rank_one_risks, simulate_rank_one
from prunella.theory.retrained import Retrained, retrain, support_risk
from prunella.theory.simulate import Estimate, Moments, simulate

__all__ = [
    "FAMILIES",
    "RISKS",
    "Advice",
    "Comparison",
    "CorrelatedProblem",
    "Estimate",
    "Kept",
    "Law",
    "Moments",
    "Prediction",
    "Problem",
    "RankOneRisks",
    "Retrained",
    "Spectrum",
    "advise",
    "answer",
    "characterize",
    "compare",
    "draw_weights",
    "family",
    "feature_covariance",
    "keep_by_rule",
    "keep_support",
    "make_correlated",
    "make_problem",
    "model_sizes",
    "oracle_support",
    "predict",
    "predict_problem",
    "predict_sizes",
    "pruned_risk",
    "random_feature_problem",
    "rank_one_risks",
    "retrain",
    "sampled_risks",
    "simulate",
    "simulate_correlated",
    "simulate_random_features",
    "simulate_rank_one",
    "solve_xi",
    "support_risk",
]
