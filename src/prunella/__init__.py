"""Make trained neural networks small, with a guarantee.

The main road::

    graph = prunella.trace(model, example_inputs)
    scores = prunella.sensitivities(model, graph, loader)
    plan = prunella.plan(graph, scores, prunella.Params(0.4))
    small = plan.apply(model)
    certificate = prunella.certify(model, small, held_out)

or all of it with `prunella.prune`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prunella import data, networks, recurrent, testing, theory
    from prunella.certificate import Verification, certify, verify_certificate
    from prunella.core.budgets import Budget, Bytes, Flops, Latency, Params
    from prunella.core.certificates import Certificate
    from prunella.core.errors import (
        BudgetError,
        ConfigWarning,
        DataError,
        ExportError,
        FileError,
        GraphError,
        InputError,
        ProcessError,
        PrunellaError,
        SurgeryError,
    )
    from prunella.core.results import Robustness
    from prunella.core.types import ChannelGraph, ChannelGroup, ChannelScores, Cost, Member
    from prunella.core.version import __version__
    from prunella.core.walks import Walk
    from prunella.exporting import ExportCheck, compare_onnx_latency, export
    from prunella.files import (
        PassFile,
        load,
        load_optimizer,
        load_plan,
        load_weights,
        save,
        save_optimizer,
        save_weights,
    )
    from prunella.graph import rule as register_rule
    from prunella.guarantee import AprioriBounds, a_priori
    from prunella.iterative import compose, slice_optimizer
    from prunella.measure import accuracy, compare_latency, cost, robustness
    from prunella.methods import METHODS, Method, Selection, register_method, score
    from prunella.pipeline import PruneResult, prune, repaired, smallest
    from prunella.planning import make_plan as plan
    from prunella.plans import Plan
    from prunella.retrain import Recipe, fit, reestimate_batchnorm
    from prunella.sensitivity import sensitivities
    from prunella.tracing import trace

__all__ = [
    "METHODS",
    "AprioriBounds",
    "Budget",
    "BudgetError",
    "Bytes",
    "Certificate",
    "ChannelGraph",
    "ChannelGroup",
    "ChannelScores",
    "ConfigWarning",
    "Cost",
    "DataError",
    "ExportCheck",
    "ExportError",
    "FileError",
    "Flops",
    "GraphError",
    "InputError",
    "Latency",
    "Member",
    "Method",
    "Params",
    "PassFile",
    "Plan",
    "ProcessError",
    "PruneResult",
    "PrunellaError",
    "Recipe",
    "Robustness",
    "Selection",
    "SurgeryError",
    "Verification",
    "Walk",
    "__version__",
    "a_priori",
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
    "recurrent",
    "reestimate_batchnorm",
    "register_method",
    "register_rule",
    "repaired",
    "robustness",
    "save",
    "save_optimizer",
    "save_weights",
    "score",
    "sensitivities",
    "slice_optimizer",
    "smallest",
    "testing",
    "theory",
    "trace",
    "verify_certificate",
]

# Where each name comes from, the same as above: importing torch takes seconds, so nothing that
# needs it is imported before it is asked for.
_HOMES = {
    "AprioriBounds": "prunella.guarantee:AprioriBounds",
    "Budget": "prunella.core.budgets:Budget",
    "BudgetError": "prunella.core.errors:BudgetError",
    "Bytes": "prunella.core.budgets:Bytes",
    "Certificate": "prunella.core.certificates:Certificate",
    "ChannelGraph": "prunella.core.types:ChannelGraph",
    "ChannelGroup": "prunella.core.types:ChannelGroup",
    "ChannelScores": "prunella.core.types:ChannelScores",
    "ConfigWarning": "prunella.core.errors:ConfigWarning",
    "Cost": "prunella.core.types:Cost",
    "DataError": "prunella.core.errors:DataError",
    "ExportCheck": "prunella.exporting:ExportCheck",
    "ExportError": "prunella.core.errors:ExportError",
    "FileError": "prunella.core.errors:FileError",
    "Flops": "prunella.core.budgets:Flops",
    "GraphError": "prunella.core.errors:GraphError",
    "Latency": "prunella.core.budgets:Latency",
    "InputError": "prunella.core.errors:InputError",
    "METHODS": "prunella.methods:METHODS",
    "Member": "prunella.core.types:Member",
    "Method": "prunella.methods:Method",
    "Params": "prunella.core.budgets:Params",
    "PassFile": "prunella.files:PassFile",
    "Plan": "prunella.plans:Plan",
    "ProcessError": "prunella.core.errors:ProcessError",
    "PruneResult": "prunella.pipeline:PruneResult",
    "PrunellaError": "prunella.core.errors:PrunellaError",
    "Recipe": "prunella.retrain:Recipe",
    "Robustness": "prunella.core.results:Robustness",
    "Selection": "prunella.methods:Selection",
    "SurgeryError": "prunella.core.errors:SurgeryError",
    "Verification": "prunella.certificate:Verification",
    "Walk": "prunella.core.walks:Walk",
    "__version__": "prunella.core.version:__version__",
    "a_priori": "prunella.guarantee:a_priori",
    "accuracy": "prunella.measure:accuracy",
    "certify": "prunella.certificate:certify",
    "compare_latency": "prunella.measure:compare_latency",
    "compare_onnx_latency": "prunella.exporting:compare_onnx_latency",
    "compose": "prunella.iterative:compose",
    "cost": "prunella.measure:cost",
    "data": "prunella.data",
    "export": "prunella.exporting:export",
    "fit": "prunella.retrain:fit",
    "load": "prunella.files:load",
    "load_optimizer": "prunella.files:load_optimizer",
    "load_plan": "prunella.files:load_plan",
    "load_weights": "prunella.files:load_weights",
    "networks": "prunella.networks",
    "plan": "prunella.planning:make_plan",
    "prune": "prunella.pipeline:prune",
    "recurrent": "prunella.recurrent",
    "reestimate_batchnorm": "prunella.retrain:reestimate_batchnorm",
    "register_method": "prunella.methods:register_method",
    "register_rule": "prunella.graph:rule",
    "repaired": "prunella.pipeline:repaired",
    "robustness": "prunella.measure:robustness",
    "save": "prunella.files:save",
    "save_optimizer": "prunella.files:save_optimizer",
    "save_weights": "prunella.files:save_weights",
    "score": "prunella.methods:score",
    "sensitivities": "prunella.sensitivity:sensitivities",
    "slice_optimizer": "prunella.iterative:slice_optimizer",
    "smallest": "prunella.pipeline:smallest",
    "testing": "prunella.testing",
    "theory": "prunella.theory",
    "trace": "prunella.tracing:trace",
    "verify_certificate": "prunella.certificate:verify_certificate",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if not TYPE_CHECKING:  # else any name at all would pass a check of types

    def __getattr__(name):
        """Import a name of the list above, or a part of the package, when it is asked for."""
        home, _, attribute = _HOMES.get(name, f"{__name__}.{name}").partition(":")
        try:
            module = importlib.import_module(home)
        except ModuleNotFoundError as error:
            if error.name != home:
                raise
            message = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(message) from None
        value = getattr(module, attribute) if attribute else module
        globals()[name] = value
        return value
