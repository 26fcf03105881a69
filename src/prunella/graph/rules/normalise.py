"""Normalisation layers."""

from __future__ import annotations

from prunella.graph.call import Call, rule
from prunella.graph.labels import Labels, constant_along
from prunella.graph.rules.contract import freeze_all


@rule("native_batch_norm", "cudnn_batch_norm", "_native_batch_norm_legit_no_training")
def batch_norm(call: Call, labels: Labels) -> None:
    """Weight, bias and running statistics go with their channel."""
    inputs = call.args[0]
    known = labels.get(inputs)
    if known is None:
        return
    axis = 1
    others = [a for a in range(known.ndim) if a != axis]
    reduced = constant_along(known, others)
    if reduced is None:
        freeze_all(call, labels, "batch norm over channels that differ between samples")
        return
    for parameter in list(call.tensors())[1:]:
        view = labels.stored.locate(parameter)
        if view is None or view.axes[0] is None:
            freeze_all(call, labels, "batch norm with a computed weight")
            return
        labels.tie(reduced.reshape(-1), labels.play(view.name, view.axes[0], "carrier"))
    labels.put(call.outputs[0], known)


@rule("native_layer_norm", "native_group_norm")
def across_channels(call: Call, labels: Labels) -> None:
    """Statistics over channels change when one is removed, so equality could not be checked."""
    known = labels.get(call.first)
    if known is None:
        return
    axes = list(range(1, known.ndim)) if call.operation == "native_group_norm" else None
    normalised = axes or list(range(known.ndim - len(call.args[1]), known.ndim))
    if call.operation == "native_layer_norm" and constant_along(known, normalised) is not None:
        labels.put(call.outputs[0], known)
        return
    freeze_all(call, labels, "normalisation across channels")
