"""Make trained neural networks small, with a guarantee.

The main road::

    graph = prunella.trace(model, example_inputs)
    scores = prunella.sensitivities(model, graph, loader)
    plan = prunella.plan(graph, scores, prunella.Params(0.4))
    small = plan.apply(model)
    certificate = prunella.certify(model, small, held_out)

or all of it with `prunella.prune`.
"""

from prunella import data, networks
from prunella.certificate import certify
from prunella.core.budgets import Budget, Flops, Params
from prunella.core.errors import (
    BudgetError,
    DataError,
    ExportError,
    FileError,
    GraphError,
    InputError,
    PrunellaError,
    SurgeryError,
)
from prunella.core.results import Certificate
from prunella.core.types import ChannelGraph, ChannelGroup, ChannelScores, Cost, Member
from prunella.core.version import __version__
from prunella.export import ExportCheck, compare_onnx_latency, export
from prunella.files import (
    load,
    load_optimizer,
    load_plan,
    load_weights,
    save,
    save_optimizer,
    save_weights,
)
from prunella.iterative import compose, slice_optimizer
from prunella.measure import accuracy, compare_latency, cost
from prunella.pipeline import PruneResult, prune
from prunella.plans import Plan
from prunella.plans import make_plan as plan
from prunella.retrain import Recipe, fit, reestimate_batchnorm
from prunella.select import METHODS, Selection, register_method
from prunella.sensitivity import sensitivities
from prunella.tracing import trace

__all__ = [
    "METHODS",
    "Budget",
    "BudgetError",
    "Certificate",
    "ChannelGraph",
    "ChannelGroup",
    "ChannelScores",
    "Cost",
    "DataError",
    "ExportCheck",
    "ExportError",
    "FileError",
    "Flops",
    "GraphError",
    "InputError",
    "Member",
    "Params",
    "Plan",
    "PruneResult",
    "PrunellaError",
    "Recipe",
    "Selection",
    "SurgeryError",
    "__version__",
    "accuracy",
    "certify",
    "compare_latency",
    "compare_onnx_latency",
    "compose",
    "cost",
    "data",
    "export",
    "fit",
    "load",
    "load_optimizer",
    "load_plan",
    "load_weights",
    "networks",
    "plan",
    "prune",
    "reestimate_batchnorm",
    "register_method",
    "save",
    "save_optimizer",
    "save_weights",
    "sensitivities",
    "slice_optimizer",
    "trace",
]
