"""Pooling, sums and softmax: labels survive along every axis that is not mixed.

Channels along an axis that is summed over go together: so they do for a sum over a few copies of
the same channels, and for a sum over all channels that leaves one unit, of which nothing can go.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from prunella.graph.call import Call, rule
from prunella.graph.labels import Labels
from prunella.graph.rules.contract import freeze_all
from prunella.graph.rules.elementwise import fill
from prunella.graph.rules.normalise import mix

_POOLS = (
    "_adaptive_avg_pool2d", "adaptive_avg_pool1d", "_adaptive_avg_pool3d", "adaptive_max_pool2d",
    "adaptive_max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "max_pool2d_with_indices",
    "max_pool3d_with_indices", "reflection_pad1d", "reflection_pad2d", "reflection_pad3d",
    "replication_pad1d", "replication_pad2d", "replication_pad3d", "upsample_bicubic2d",
    "upsample_bilinear2d", "upsample_linear1d", "upsample_nearest1d", "upsample_nearest2d",
    "upsample_nearest3d", "upsample_trilinear3d", "_upsample_bicubic2d_aa",
    "_upsample_bilinear2d_aa", "_upsample_nearest_exact1d", "_upsample_nearest_exact2d",
    "grid_sampler_2d", "grid_sampler_3d",
)  # fmt: skip


@rule(*_POOLS)
def pool(call: Call, labels: Labels) -> None:
    """Mixes positions of the last axes only; the channel axis is untouched."""
    known = labels.get(call.first)
    if known is None:
        return
    spatial = {"1": 1, "2": 2, "3": 3}[next(c for c in call.operation if c in "123")]
    reduced = labels.constant_along(known, range(known.ndim - spatial, known.ndim))
    if reduced is None:
        freeze_all(call, labels, "pooling across channels")
        return
    for out in call.outputs:
        labels.put(out, reduced.expand(out.shape))


@rule("mean", "sum", "amax", "amin", "max", "min", "var", "std", "var_mean", "std_mean",
      "linalg_vector_norm", "norm", "logsumexp", "prod", "any", "all")  # fmt: skip
def reduction(call: Call, labels: Labels) -> None:
    """The channels along a reduced axis go together, if anything reads the result.

    Attention averages its weights over the heads even where nobody asks for them.
    """
    known = labels.get(call.first)
    if known is None:
        if labels.layers(call.first):
            freeze_all(call, labels, "a reduction of a stored tensor")
        return
    axes = _axes(call, known)
    reason = f"a reduction over channels ({call.operation}) at {call.where()}"
    if call.operation == "mean" and labels.is_square(call.first) and labels.through_norms:
        others = [axis for axis in range(known.ndim) if axis not in axes]
        if labels.constant_along(known, others) is not None:
            # The statistic of a root-mean-square norm: it has no channels of its own.
            mix(known, axes, reason, labels)
            return
    kept = [axis for axis in range(known.ndim) if axis not in axes]
    for out in call.outputs:

        def found(shape: Sequence[int] = out.shape) -> Tensor:
            reduced = labels.tie_along(known, axes, reason)
            if len(shape) == known.ndim:
                return reduced.expand(tuple(shape))
            return reduced.permute(*kept, *axes).reshape(tuple(shape))

        labels.put_when_read(out, found)


@rule("_softmax", "_log_softmax", "_safe_softmax")
def softmax(call: Call, labels: Labels) -> None:
    """Channels along the axis share one sum, so they go together: a whole softmax, or nothing."""
    known = labels.get(call.first)
    if known is None:
        if labels.layers(call.first):
            freeze_all(call, labels, "softmax of a stored tensor")
        return
    reason = f"{call.operation.strip('_')} over channels at {call.where()}"
    reduced = labels.tie_along(known, [call.args[1] % known.ndim], reason)
    labels.put(call.out, reduced.expand(call.out.shape))


@rule("cumsum", "glu_jvp", "sort", "topk", "argsort")
def along_axis(call: Call, labels: Labels) -> None:
    """An order along an axis that holds channels mixes them, so they are frozen."""
    known = labels.get(call.first)
    if known is None:
        if labels.layers(call.first):
            freeze_all(call, labels, f"{call.operation} of a stored tensor")
        return
    place = 2 if call.operation == "topk" else 1
    given = call.args[place] if len(call.args) > place else call.kwargs.get("dim", -1)
    reduced = labels.constant_along(known, [given % known.ndim])
    if reduced is None:
        freeze_all(call, labels, f"{call.operation.strip('_')} over channels")
        return
    for out in call.outputs:
        labels.put(out, reduced.expand(out.shape))


@rule("glu")
def gated(call: Call, labels: Labels) -> None:
    """The two halves of the channels are multiplied with each other."""
    known = labels.get(call.first)
    if known is None:
        return
    axis = (call.args[1] if len(call.args) > 1 else -1) % known.ndim
    first, second = known.chunk(2, axis)
    labels.tie(first, second)
    labels.put(call.out, fill(first, second, call, labels))


def _axes(call: Call, known: Tensor) -> list[int]:
    place = {"linalg_vector_norm": 2, "norm": 2}.get(call.operation, 1)
    given = call.args[place] if len(call.args) > place else call.kwargs.get("dim")
    if given is None or isinstance(given, bool) or (isinstance(given, Sequence) and not given):
        return list(range(known.ndim))
    given = [given] if isinstance(given, int) else given
    return sorted(axis % known.ndim for axis in given)
