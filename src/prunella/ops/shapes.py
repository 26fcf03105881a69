"""Shapes of results on the meta device, for the operations that networks are made of.

Torch knows them all, but asks long chains of Python for some, which is most of the time of a run
without values. The functions here answer for plain tensors only, and leave every other case to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from prunella.ops.watching import CallWatcher

Quick = Callable[..., Any]
_QUICK: dict[str, Quick] = {}
_SAME_SHAPE = (
    "elu", "gelu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "mish", "relu", "sigmoid",
    "silu", "tanh", "_softmax", "_safe_softmax",
)  # fmt: skip


def result_on_meta(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What an ATen call returns, given tensors on the meta device."""
    quick = _QUICK.get(func.overloadpacket.__name__)
    if quick is not None and not kwargs and _is_plain(args[0]):
        found = quick(*args)
        if found is not None:
            return found
    return func(*args, **kwargs)


class ShapesOnly(CallWatcher):
    """Runs a model on the meta device by the quick way."""

    def answer(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result, by the quick way where there is one."""
        return result_on_meta(func, args, kwargs)


def _is_plain(tensor: object) -> bool:
    return isinstance(tensor, Tensor) and tensor.is_meta and tensor.dtype is torch.float32


def _quick(*operations: str) -> Callable[[Quick], Quick]:
    def register(function: Quick) -> Quick:
        _QUICK.update(dict.fromkeys(operations, function))
        return function

    return register


@_quick(*_SAME_SHAPE)
def _same(tensor: Tensor, *_: object) -> Tensor:
    return torch.empty_like(tensor)


@_quick(*(f"{name}_" for name in _SAME_SHAPE if not name.startswith("_")))
def _in_place(tensor: Tensor, *_: object) -> Tensor:
    return tensor


@_quick("native_batch_norm")
def _batch_norm(
    tensor: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor | None,
    var: Tensor | None, training: bool, *_: object,
) -> Any:  # fmt: skip
    given = [t for t in (weight, bias, mean, var) if t is not None]
    plain = tensor.is_contiguous() and not training
    if not plain or any(t.shape != tensor.shape[1:2] for t in given):
        return None
    return tensor.new_empty(tensor.shape), tensor.new_empty(0), tensor.new_empty(0)


@_quick("native_layer_norm")
def _layer_norm(
    tensor: Tensor, shape: Sequence[int], weight: Tensor | None, bias: Tensor | None, *_: object
) -> Any:
    kept = tensor.ndim - len(shape)
    wanted = [tensor.shape[kept:], *(t.shape for t in (weight, bias) if t is not None)]
    if any(tuple(found) != tuple(shape) for found in wanted):
        return None
    outer = (*tensor.shape[:kept], *(1 for _ in shape))
    return tensor.new_empty(tensor.shape), tensor.new_empty(outer), tensor.new_empty(outer)


@_quick("addmm")
def _addmm(bias: Tensor, left: Tensor, right: Tensor, *more: object) -> Tensor | None:
    fits = not more and _is_plain(left) and right.dtype is left.dtype
    if not fits or left.shape[1] != right.shape[0] or bias.shape[-1] not in (1, right.shape[1]):
        return None
    return left.new_empty(left.shape[0], right.shape[1])


@_quick("mm")
def _mm(left: Tensor, right: Tensor) -> Tensor | None:
    if right.dtype is not left.dtype or left.shape[1] != right.shape[0]:
        return None
    return left.new_empty(left.shape[0], right.shape[1])


@_quick("convolution")
def _convolution(
    inputs: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int],
    padding: Sequence[int], dilation: Sequence[int], transposed: bool, _: object, groups: int,
) -> Tensor | None:  # fmt: skip
    spatial = weight.ndim - 2
    fits = (
        not transposed
        and inputs.is_contiguous()
        and weight.is_contiguous()
        and _is_plain(weight)
        and inputs.ndim == weight.ndim
        and inputs.shape[1] == weight.shape[1] * groups
        and weight.shape[0] % groups == 0
        and (bias is None or bias.shape == weight.shape[:1])
        and len(stride) == len(padding) == len(dilation) == spatial
    )
    if not fits:
        return None
    sizes = [
        (size + 2 * pad - gap * (kernel - 1) - 1) // step + 1
        for size, kernel, step, pad, gap in zip(
            inputs.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True
        )
    ]
    if min(sizes) < 1:
        return None
    return inputs.new_empty((inputs.shape[0], weight.shape[0], *sizes))
