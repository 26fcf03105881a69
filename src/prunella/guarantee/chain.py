"""Whether errors pass through a network layer by layer, and how much signs cancel on the way.

Theorem 2 of `docs/theory/sampling.md` covers plain chains: from the first cut layer on, every call
takes the result of the one before and keeps relative errors entry by entry, or is a layer with
stored weights. One run on one sample is watched and either found to be such a chain, or not, with
the reason.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, final

import torch
from torch import Tensor

from prunella.core.inputs import tensors_in
from prunella.ops import Contraction

# Each keeps |a' - a| <= e |a| with e <= 1, entry by entry, whatever the sign of a.
_KEEPING = frozenset(
    {
        "alias", "clone", "contiguous", "detach", "flatten", "max_pool2d_with_indices",
        "max_pool3d_with_indices", "permute", "relu", "relu_", "reshape", "squeeze", "t",
        "transpose", "unsqueeze", "_unsafe_view", "view",
    }
)  # fmt: skip
# Each does so if no entry of its input is negative: they add up non-negative multiples.
_AVERAGING = frozenset(
    {"_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "avg_pool2d", "avg_pool3d", "mean", "sum"}
)
_BATCH_NORM = frozenset(
    {"_native_batch_norm_legit_no_training", "cudnn_batch_norm", "native_batch_norm"}
)
_HARMLESS = frozenset({"memory_format", "dtype"})  # keyword arguments, the latter only if None


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One layer in one run.

    Attributes:
        name: The stored weight.
        in_axis: Axis of it that meets the input's channels.
        kappa: Largest (z+ + z-) / |z| over all outputs, z with the bias; at least 1.
    """

    name: str
    in_axis: int
    kappa: float


@final
@dataclass(slots=True)
class ChainRun:
    """Watches one run; what is not yet in error is exact, and may be computed in any way.

    Attributes:
        cut: (weight, input axis) of the layers that read a cut group.
        links: Layers so far, from the first cut one on.
        reason: Why the run is no chain; "" as long as it is one.
    """

    cut: frozenset[tuple[str, int]]
    links: list[Link] = field(default_factory=list)
    reason: str = ""
    _inexact: dict[int, Tensor] = field(default_factory=dict)  # all of them, kept alive
    _current: Tensor | None = None
    _total: Tensor | None = None  # z+ + z- of `_current`, right after a layer
    _rectified: bool = False

    def note(
        self,
        func: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        result: Any,
        call: Contraction | None,
    ) -> None:
        """Take in one call, after it was run."""
        if self.reason:
            return
        name = func.overloadpacket.__name__
        inexact = [arg for arg in tensors_in((args, kwargs)) if id(arg) in self._inexact]
        first_cut = call is not None and (call.name, call.in_axis) in self.cut
        if not inexact and not first_cut:
            return
        self.reason = self._obstacle(name, kwargs, inexact, call)
        if self.reason:
            self._release()
        elif call is not None:
            self._layer(func, args, result, call)
        elif name in _BATCH_NORM:
            self._normalised(args, result)
        else:
            self._rectified = self._rectified or name in ("relu", "relu_")
            self._follow(result, None)

    def finish(self, outputs: object) -> None:
        """Take in what the run returned, and let go of its tensors."""
        found = [tensor for tensor in tensors_in(outputs) if id(tensor) in self._inexact]
        if not self.reason and not self.links:
            self.reason = "no layer that reads a cut group was run"
        elif not self.reason and (len(found) != 1 or found[0] is not self._current):
            self.reason = "its output is not the result of the last layer alone"
        self._release()

    def _release(self) -> None:
        self._inexact.clear()
        self._current = self._total = None

    def _obstacle(
        self, name: str, kwargs: dict[str, Any], inexact: list[Tensor], call: Contraction | None
    ) -> str:
        """Why the theorem does not cover a call, or ""."""
        if not inexact:
            return "" if self._current is None else "cut layers stand side by side, not in a chain"
        if len(inexact) > 1:
            return f"its layers are no plain chain ({name} takes two results of layers)"
        if inexact[0] is not self._current:
            return f"its layers are no plain chain ({name} takes an earlier result again)"
        if set(kwargs) - _HARMLESS or kwargs.get("dtype") is not None:
            return f"{name} is called with {', '.join(sorted(kwargs))}"
        if call is not None:
            return "" if call.inputs is self._current else f"{name} adds a result to a layer's sums"
        if name in _BATCH_NORM:
            return "" if self._total is not None else "batch norm does not directly follow a layer"
        if name in _AVERAGING:
            return "" if self._rectified else f"{name} is not behind a ReLU"
        if name not in _KEEPING:
            return f"{name} is neither a layer, a ReLU, a pooling nor a change of shape"
        return ""

    def _layer(self, func: Any, args: tuple[Any, ...], result: Tensor, call: Contraction) -> None:
        sizes = call.inputs.abs(), call.weight.abs()
        total = torch.mm(*sizes) if call.spatial == 0 else func(*sizes, None, *args[3:])
        self.links.append(
            Link(name=call.name, in_axis=call.in_axis, kappa=cancellation(total, result))
        )
        self._rectified = False
        self._follow(result, total)

    def _normalised(self, args: tuple[Any, ...], result: Any) -> None:
        """Batch norm scales a layer's sums and shifts them, like a bias."""
        _, weight, _, _, variance = args[:5]
        if args[5] is True or self._total is None:
            self.reason = "batch norm uses the statistics of the batch"
            self._release()
            return
        scale = (variance + args[-1]).rsqrt()
        scale = scale if weight is None else scale * weight.abs()
        total = self._total * scale.view(-1, *[1] * (self._total.ndim - 2))
        self.links.append(replace(self.links.pop(), kappa=cancellation(total, result[0])))
        self._follow(result, total)

    def _follow(self, result: Any, total: Tensor | None) -> None:
        # Of several results, as the indices of a pooling, the first is the one to go on with.
        found = list(tensors_in(result))
        self._current, self._total = found[0], total
        self._inexact |= {id(tensor): tensor for tensor in found}


def cancellation(
    total: Tensor,  # any shape, z+ + z-
    result: Tensor,  # the same shape, z with the bias
) -> float:
    """Largest total / |result|, at least 1; 0/0 = 1 and x/0 = infinity."""
    if not total.numel():
        return 1.0
    total, size = total.float(), result.float().abs()
    ratio = torch.where(total > 0, total / size, torch.ones_like(total))
    largest = float(ratio.max())
    return math.inf if math.isnan(largest) else max(1.0, largest)
