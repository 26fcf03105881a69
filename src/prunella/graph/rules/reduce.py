"""Pooling, sums and softmax: labels survive along every axis that is not mixed."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from prunella.graph.call import Call, rule
from prunella.graph.labels import Labels, constant_along
from prunella.graph.rules.contract import freeze_all

_POOLS = (
    "_adaptive_avg_pool2d", "adaptive_avg_pool1d", "_adaptive_avg_pool3d", "adaptive_max_pool2d",
    "avg_pool1d", "avg_pool2d", "avg_pool3d", "max_pool2d_with_indices", "max_pool3d_with_indices",
    "reflection_pad1d", "reflection_pad2d", "replication_pad1d", "replication_pad2d",
    "upsample_bicubic2d", "upsample_bilinear2d", "upsample_linear1d", "upsample_nearest1d",
    "upsample_nearest2d",
)  # fmt: skip


@rule(*_POOLS)
def pool(call: Call, labels: Labels) -> None:
    """Mixes positions of the last axes only; the channel axis is untouched."""
    known = labels.get(call.first)
    if known is None:
        return
    spatial = {"1": 1, "2": 2, "3": 3}[next(c for c in call.operation if c in "123")]
    reduced = constant_along(known, list(range(known.ndim - spatial, known.ndim)))
    if reduced is None:
        freeze_all(call, labels, "pooling across channels")
        return
    for out in call.outputs:
        labels.put(out, reduced.expand(out.shape))


@rule("mean", "sum", "amax", "amin", "max", "min", "var", "std", "linalg_vector_norm")
def reduction(call: Call, labels: Labels) -> None:
    """A reduced axis disappears; if it held channels they are frozen."""
    known = labels.get(call.first)
    if known is None:
        return
    axes = _axes(call, known)
    reduced = constant_along(known, axes)
    if reduced is None:
        freeze_all(call, labels, "a reduction over channels")
        return
    kept = [axis for axis in range(known.ndim) if axis not in axes]
    for out in call.outputs:
        if out.ndim == known.ndim:
            labels.put(out, reduced.expand(out.shape))
        else:
            labels.put(out, reduced.permute(*kept, *axes).reshape(out.shape))


@rule("_softmax", "_log_softmax", "_safe_softmax", "cumsum")
def along_axis(call: Call, labels: Labels) -> None:
    """Softmax over an axis that holds channels mixes them, so they are frozen."""
    known = labels.get(call.first)
    if known is None:
        return
    if constant_along(known, [call.args[1] % known.ndim]) is None:
        freeze_all(call, labels, "softmax over channels")
        return
    labels.put(call.out, known)


def _axes(call: Call, known: Tensor) -> list[int]:
    given = call.args[1] if len(call.args) > 1 else call.kwargs.get("dim")
    if call.operation == "linalg_vector_norm":
        given = call.args[2] if len(call.args) > 2 else None
    if given is None or (isinstance(given, Sequence) and not given):
        return list(range(known.ndim))
    given = [given] if isinstance(given, int) else given
    return sorted(axis % known.ndim for axis in given)
