"""Shapes of results on the meta device, for the operations that networks are made of.

Torch knows them all, but asks long chains of Python for some, which is most of the time of a run
without values. The functions here answer for plain tensors only, and leave every other case to it.
Steps in memory are those that torch gives: whether a later view is possible depends on them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from prunella.ops.watching import CallWatcher

Quick = Callable[..., Any]
_META = torch.device("meta")
_QUICK: dict[str, Quick] = {}
_SAME_SHAPE = (
    "elu", "gelu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "mish", "relu", "sigmoid",
    "silu", "tanh",
)  # fmt: skip
_WITH_NUMBERS = (
    "add.Scalar", "clamp.default", "clamp_min.default", "div.Scalar", "exp.default", "mul.Scalar",
    "neg.default", "sqrt.default", "sub.Scalar",
)  # fmt: skip


def result_on_meta(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What an ATen call returns, given tensors on the meta device."""
    quick = _quick_for(func)
    if quick is not None and not kwargs and (type(args[0]) is list or _is_plain(args[0])):
        found = quick(*args)
        if found is not None:
            return found
    return func(*args, **kwargs)


@cache
def _quick_for(func: Any) -> Quick | None:
    packet = func.overloadpacket.__name__
    return _QUICK.get(packet) or _QUICK.get(f"{packet}.{func._overloadname}")


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


def _empty(shape: Sequence[int]) -> Tensor:
    """A contiguous tensor; the shortest way to one."""
    return torch.empty(shape, device=_META, dtype=torch.float32)


def _like(tensor: Tensor) -> Tensor | None:
    """One of the same shape and steps, of a tensor without gaps; None for others."""
    if tensor.is_contiguous():
        return _empty(tensor.shape)
    filled = 1
    for step, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size != 1 and step != filled:
            return None
        filled *= size
    return torch.empty_strided(tensor.shape, tensor.stride(), device=_META, dtype=torch.float32)


@_quick(*_SAME_SHAPE)
def _same(tensor: Tensor, *_: object) -> Tensor | None:
    return _like(tensor)


@_quick("_softmax", "_safe_softmax")
def _softmax(tensor: Tensor, *_: object) -> Tensor | None:
    return _empty(tensor.shape) if tensor.is_contiguous() else None


@_quick(*(f"{name}_" for name in _SAME_SHAPE))
def _in_place(tensor: Tensor, *_: object) -> Tensor:
    return tensor


@_quick(*_WITH_NUMBERS)
def _with_numbers(tensor: Tensor, *numbers: object) -> Tensor | None:
    return _like(tensor) if all(type(n) in (int, float, type(None)) for n in numbers) else None


@_quick("roll.default")
def _roll(tensor: Tensor, shifts: Sequence[int], axes: Sequence[int] = ()) -> Tensor | None:
    plain = tensor.is_contiguous() and len(shifts) == len(axes)
    return _empty(tensor.shape) if plain and _axes(axes, tensor.ndim) is not None else None


@_quick("clone.default")
def _clone(tensor: Tensor) -> Tensor | None:
    return _empty(tensor.shape) if tensor.is_contiguous() else None


@_quick("add.Tensor", "sub.Tensor", "mul.Tensor", "div.Tensor")
def _pairwise(left: Tensor, right: object) -> Tensor | None:
    if type(right) in (int, float):
        return _like(left)
    if not isinstance(right, Tensor) or not _is_plain(right):
        return None
    if left.shape == right.shape and left.stride() == right.stride():
        return _like(left)
    if not left.is_contiguous() or not right.is_contiguous():
        return None
    shape = _broadcast(left.shape, right.shape)
    return None if shape is None else _empty(shape)


@_quick("add_.Tensor", "sub_.Tensor", "mul_.Tensor", "div_.Tensor")
def _pairwise_in_place(left: Tensor, right: object) -> Tensor | None:
    if type(right) in (int, float):
        return left
    plain = isinstance(right, Tensor) and _is_plain(right) and left.shape == right.shape
    return left if plain else None


def _broadcast(a: Sequence[int], b: Sequence[int]) -> Sequence[int] | None:
    if a == b:
        return a
    if len(a) != len(b):
        a, b = (1,) * (len(b) - len(a)) + tuple(a), (1,) * (len(a) - len(b)) + tuple(b)
    if any(m != n and 1 not in (m, n) for m, n in zip(a, b, strict=True)):
        return None
    return tuple(m if n == 1 else n for m, n in zip(a, b, strict=True))


def _axes(axes: Sequence[int], ndim: int) -> set[int] | None:
    """The axes counted from the first; None where one is out of range or named twice."""
    found = {axis % ndim for axis in axes if -ndim <= axis < ndim}
    return found if len(found) == len(axes) else None


@_quick("mean.dim")
def _mean(tensor: Tensor, given: Sequence[int] | None, keep: bool = False) -> Tensor | None:
    axes = _axes(given, tensor.ndim) if given else None
    if not axes or not tensor.is_contiguous():
        return None
    sizes = enumerate(tensor.shape)
    if keep:
        return _empty([1 if axis in axes else size for axis, size in sizes])
    return _empty([size for axis, size in sizes if axis not in axes])


@_quick("cat.default")
def _cat(parts: Sequence[Tensor], axis: int = 0) -> Tensor | None:
    first = parts[0].shape
    if not all(_is_plain(t) and t.is_contiguous() and t.ndim == len(first) for t in parts):
        return None
    if not first or not -len(first) <= axis < len(first):
        return None
    axis %= len(first)
    before, after = first[:axis], first[axis + 1 :]
    if any(t.shape[:axis] != before or t.shape[axis + 1 :] != after for t in parts):
        return None
    return _empty((*before, sum(t.shape[axis] for t in parts), *after))


@_quick("bmm.default")
def _bmm(left: Tensor, right: Tensor) -> Tensor | None:
    if not _is_plain(right) or left.shape[0] != right.shape[0] or left.shape[2] != right.shape[1]:
        return None
    return _empty((left.shape[0], left.shape[1], right.shape[2]))


@_quick("index.Tensor")
def _index(tensor: Tensor, chosen: Sequence[Tensor | None]) -> Tensor | None:
    """Rows by number, as a table of relative positions is read."""
    rows = chosen[0] if len(chosen) == 1 else None
    if rows is None or rows.dtype is not torch.int64 or not rows.is_meta or rows.ndim != 1:
        return None
    return _empty((*rows.shape, *tensor.shape[1:])) if tensor.is_contiguous() else None


@_quick("native_batch_norm")
def _batch_norm(
    tensor: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor | None,
    var: Tensor | None, training: bool, *_: object,
) -> Any:  # fmt: skip
    given = [t for t in (weight, bias, mean, var) if t is not None]
    plain = tensor.is_contiguous() and not training
    if not plain or any(t.shape != tensor.shape[1:2] for t in given):
        return None
    return _empty(tensor.shape), _empty((0,)), _empty((0,))


@_quick("native_layer_norm")
def _layer_norm(
    tensor: Tensor, shape: Sequence[int], weight: Tensor | None, bias: Tensor | None, *_: object
) -> Any:
    kept = tensor.ndim - len(shape)
    wanted = [tensor.shape[kept:], *(t.shape for t in (weight, bias) if t is not None)]
    if any(tuple(found) != tuple(shape) for found in wanted):
        return None
    outer = (*tensor.shape[:kept], *(1 for _ in shape))
    return _empty(tensor.shape), _empty(outer), _empty(outer)


@_quick("addmm")
def _addmm(bias: Tensor, left: Tensor, right: Tensor, *more: object) -> Tensor | None:
    fits = not more and _is_plain(left) and right.dtype is left.dtype
    if not fits or left.shape[1] != right.shape[0] or bias.shape[-1] not in (1, right.shape[1]):
        return None
    return _empty((left.shape[0], right.shape[1]))


@_quick("mm")
def _mm(left: Tensor, right: Tensor) -> Tensor | None:
    if right.dtype is not left.dtype or left.shape[1] != right.shape[0]:
        return None
    return _empty((left.shape[0], right.shape[1]))


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
    return _empty((inputs.shape[0], weight.shape[0], *sizes))
