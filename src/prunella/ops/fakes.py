"""Running a model on tensors that have shapes but no memory.

Tensors on the meta device are quickest. Fake tensors remember the device they stand for, which the
code of some models needs; real ones are the last resort, where the path depends on values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from enum import Enum
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeCopyMode,
    FakeTensorMode,
    UnsupportedFakeTensorException,
    UnsupportedOperatorException,
)
from torch.overrides import TorchFunctionMode
from torch.utils._device import DeviceContext

from prunella.core.inputs import Inputs
from prunella.ops.copies import copy_module
from prunella.ops.shapes import ShapesOnly
from prunella.ops.walks import modules_of

NEEDS_VALUES: tuple[type[Exception], ...] = (
    DataDependentOutputException,
    DynamicOutputShapeException,
    UnsupportedFakeTensorException,
    UnsupportedOperatorException,
)
"""Raised where a model's path depends on values, which fake tensors do not have."""

T = TypeVar("T")
_META = torch.device("meta")


class _NotOnMeta(Exception):
    """The meta device would answer wrongly; fake tensors are tried next, see `without_values`."""


class Stand(Enum):
    """What stands for a model's tensors, where not fake tensors of a given mode."""

    META = "meta"
    REAL = "real"


Tensors = Stand | FakeTensorMode


def without_values(attempt: Callable[[Tensors], T]) -> T:
    """The result of the first attempt that works: on meta, on fake, then on real tensors."""
    # Whatever stops a run on the meta device may be due to that device: only a later one tells.
    with suppress(Exception):
        return attempt(Stand.META)
    try:
        return attempt(FakeTensorMode(allow_non_fake_inputs=True))
    except NEEDS_VALUES:
        return attempt(Stand.REAL)


def standing(tensors: Tensors, *, quick: bool = True) -> AbstractContextManager[object]:
    """The context to run the copy in; new tensors of the model's code are of the same kind.

    Args:
        tensors: What the copy was made of.
        quick: Whether to answer for the shapes of common operations; not inside another mode that
            does so.
    """
    if tensors is Stand.REAL:
        return nullcontext()
    if isinstance(tensors, FakeTensorMode):
        return tensors
    stack = ExitStack()
    stack.enter_context(_MetaDevice(torch.device("meta")))
    if quick:
        stack.enter_context(ShapesOnly())
    return stack


def evaluation_copy(
    model: nn.Module, inputs: Inputs, *, tensors: Tensors
) -> tuple[nn.Module, Inputs]:
    """A copy of the model in evaluation mode on the given kind of tensors, and inputs to match."""
    known = _stored_on_meta(model) if tensors is Stand.META else {}
    with copying(tensors):
        copied = copy_module(model, known)
    evaluate(copied)
    return copied, inputs_for(model, inputs, tensors=tensors)


def inputs_for(model: nn.Module, inputs: Inputs, *, tensors: Tensors) -> Inputs:
    """Inputs of the given kind of tensors, which stand for the device of the model."""
    first = next(model.parameters(), None)
    device = torch.device("cpu") if first is None else first.device

    def moved(leaf: Tensor) -> Tensor:
        if tensors is Stand.META:
            return leaf.to("meta")
        there = leaf.to(device)
        if isinstance(tensors, FakeTensorMode):
            return cast("Tensor", tensors.from_tensor(there))
        return there

    return inputs.map(moved)


def evaluate(model: nn.Module) -> None:
    """As `model.eval()`, at once where all modules are in that mode already."""
    modules = modules_of(model)
    own = any(kind.train is not nn.Module.train for kind in {type(m) for m in modules})
    if own or any(module.training for module in modules):
        model.eval()


def copying(tensors: Tensors) -> AbstractContextManager[object]:
    """The context in which `copy_module` gives a copy on tensors of that kind."""
    if isinstance(tensors, FakeTensorMode):
        return FakeCopyMode(tensors)
    if tensors is Stand.META:
        return _MetaCopy()
    return nullcontext()


def _stored_on_meta(model: nn.Module) -> dict[int, Any]:
    """What stands for parameters and buffers, by identity; of what is unusual nothing is said.

    Tensors that overlap in memory would come apart on the meta device.
    """
    stored = {
        id(tensor): tensor
        for module in modules_of(model)
        for tensor in (*module._parameters.values(), *module._buffers.values())
        if tensor is not None
    }
    memory = {tensor.untyped_storage()._cdata for tensor in stored.values()}
    if len(memory) < len(stored):
        raise _NotOnMeta("stored tensors share memory")
    return {
        identity: empty_on_meta(tensor, tensor.shape)
        for identity, tensor in stored.items()
        if type(tensor) in (Tensor, nn.Parameter) and _is_simple(tensor)
    }


def _is_simple(tensor: Tensor) -> bool:
    return tensor.layout is torch.strided and not tensor.is_quantized and tensor.is_contiguous()


def empty_on_meta(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """A plain tensor or parameter, as the given one is, of some shape on the meta device."""
    empty = torch.empty(shape, dtype=tensor.dtype, device=_META)
    if type(tensor) is nn.Parameter:
        # What its constructor does, without asking what it was given.
        return Tensor._make_subclass(nn.Parameter, empty, tensor.requires_grad)
    return empty.requires_grad_() if tensor.requires_grad else empty


class _MetaDevice(DeviceContext):
    """New tensors are on the meta device; a run there must be in full precision.

    Nothing is converted there by the model's own autocast, so that the weights it hides would not
    show.
    """

    def __torch_function__(
        self,
        func: Any,
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if torch.is_autocast_enabled("cpu"):
            raise _NotOnMeta("the model computes under autocast")
        return super().__torch_function__(func, types, args, kwargs)  # type: ignore[no-untyped-call]


class _MetaCopy(TorchFunctionMode):
    """Lets `copy.deepcopy` copy tensors onto the meta device."""

    def __torch_function__(
        self,
        func: Any,
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        del types
        if func is torch._C.TensorBase.clone:
            return args[0].detach().to("meta")
        if func is Tensor.__deepcopy__:
            tensor, memo = args
            if id(tensor) not in memo:
                memo[id(tensor)] = tensor.detach().to("meta").requires_grad_(tensor.requires_grad)
            return memo[id(tensor)]
        return func(*args, **(kwargs or {}))
