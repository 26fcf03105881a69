"""Normalisation layers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from prunella.graph.call import Call, rule
from prunella.graph.labels import Labels
from prunella.graph.rules.contract import freeze_all
from prunella.graph.rules.elementwise import meet, meet_vectors


@rule(
    "native_batch_norm", "cudnn_batch_norm", "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training", "_batch_norm_with_update", "batch_norm_elemt",
)  # fmt: skip
def batch_norm(call: Call, labels: Labels) -> None:
    """Weight, bias and running statistics go with their channel."""
    known = labels.get(call.args[0])
    if known is None:
        freeze_all(call, labels, "batch norm of what has no channels")
        return
    others = [axis for axis in range(known.ndim) if axis != 1]
    if labels.constant_along(known, others) is None:
        labels.tie_along(known, others, f"batch norm over different channels at {call.where()}")
    channels = known.narrow(0, 0, 1)
    for axis in range(2, known.ndim):
        channels = channels.narrow(axis, 0, 1)
    meet_vectors(channels.reshape(-1), list(call.tensors())[1:], call, labels)
    labels.put(call.outputs[0], known)


@rule("native_layer_norm", "_fused_rms_norm", "rms_norm")
def layer_norm(call: Call, labels: Labels) -> None:
    """Statistics over the last axes: channels along them go together, or not at all."""
    known = labels.get(call.first)
    if known is None:
        freeze_all(call, labels, "normalisation of what has no channels")
        return
    axes = range(known.ndim - len(call.args[1]), known.ndim)
    mix(known, axes, f"a normalisation across channels (layer norm) at {call.where()}", labels)
    for parameter in list(call.tensors())[1:]:
        meet(known, parameter, call, labels)
    labels.put(call.outputs[0], known)


@rule("native_group_norm")
def group_norm(call: Call, labels: Labels) -> None:
    """Statistics over each group of channels: a group of them goes as a whole, or not at all."""
    known = labels.get(call.first)
    if known is None:
        freeze_all(call, labels, "normalisation of what has no channels")
        return
    groups = call.args[6]
    by_group = known.unflatten(1, (groups, -1))
    reason = f"a normalisation across channels (group norm) at {call.where()}"
    if groups == 1:
        mix(by_group, range(2, by_group.ndim), reason, labels)
    elif call.args[1] is None:  # no tensor of the module tells later how many groups are left
        labels.freeze(known, f"a group norm without weights at {call.where()}")
    else:
        labels.tie_along(by_group, range(2, by_group.ndim), reason)
    channels = known.flatten(2)[0, :, 0] if known.ndim > 2 else known[0]
    for parameter in list(call.tensors())[1:]:
        meet(channels, parameter, call, labels)
    labels.put(call.outputs[0], known)


def mix(known: Tensor, axes: Sequence[int], reason: str, labels: Labels) -> None:
    """Channels that share statistics are tied, or on request marked: no equality holds then."""
    if not labels.through_norms:
        labels.tie_along(known, axes, reason)
    else:
        labels.mark_mixed(known, axes)
