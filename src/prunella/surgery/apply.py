"""Slicing parameters and buffers in a copy of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.overrides import TorchFunctionMode

from prunella.core.errors import InputError
from prunella.core.positions import complement, removed_positions, shape_without
from prunella.core.types import ChannelGraph
from prunella.ops import copy_module
from prunella.surgery.attributes import refresh_attributes

_WIDE = 1_000_000  # elements from which on it pays to look for a quicker way of selecting


def cut(
    model: nn.Module,
    graph: ChannelGraph,
    kept: Mapping[str, Tensor],  # group name -> (kept,) sorted int64
) -> nn.Module:
    """A copy of `model` without the units that are not kept; nothing is verified here.

    Parameters stay parameters with their `requires_grad`, type, device and memory format; tied
    parameters stay tied; module attributes such as `out_channels` follow the new shapes.

    Raises:
        InputError: the model's tensors differ from those the graph was made from.
    """
    check_architecture(model, graph)
    tensors = stored_tensors(model, graph)
    # What is found here by identity is taken as the copy, so ties and names survive.
    replaced: dict[int, Any] = {}
    for name, axes in removed_positions(graph, kept).items():
        tensor = tensors[name]
        replaced[id(tensor)] = without(tensor, axes)
    with _SharedFakes():
        small = copy_module(model, replaced)
    refresh_attributes(small, graph, kept)
    return small


def stored_tensors(model: nn.Module, graph: ChannelGraph) -> dict[str, Tensor]:
    """All parameters and buffers by name, each once.

    Raises:
        InputError: a tensor in which units of the graph live is not among them.
    """
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for group in graph.prunable:
        for member in group.members:
            if member.tensor not in tensors:
                raise InputError(f"{member.tensor!r} is no tensor of {type(model).__name__}.")
    return tensors


class _SharedFakes(TorchFunctionMode):
    """Fake tensors hold nothing that would need a copy, and their mode must stay the same one."""

    def __torch_function__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        del types
        if func is torch.Tensor.__deepcopy__ and isinstance(args[0], FakeTensor):
            return args[1].get(id(args[0]), args[0])
        return func(*args, **(kwargs or {}))


def without(
    tensor: Tensor,
    removed: Mapping[int, Tensor],  # axis -> positions, int64
) -> Tensor:
    """A copy of a tensor without the given positions of some axes.

    It keeps type, device and memory format, and stays a parameter if it was one.
    """
    left = tensor.detach()
    if isinstance(left, FakeTensor) or left.is_meta:  # there is nothing to select
        return _like(tensor, left.new_empty(shape_without(tuple(left.shape), removed)))
    for axis, positions in sorted(removed.items()):  # whole rows first: they go quickest
        left = _selected(left, axis, complement(positions, tensor.shape[axis]).to(left.device))
    return _like(tensor, left)


def _selected(
    tensor: Tensor,
    axis: int,
    stays: Tensor,  # (kept,) sorted int64
) -> Tensor:
    """Some positions of an axis; a view where they are next to each other."""
    size = tensor.shape[axis]
    if len(stays) and tensor.device.type == "cpu":
        first, last = int(stays[0]), int(stays[-1])
        if last - first + 1 == len(stays):
            return tensor.narrow(axis, first, len(stays))
        wide = axis == tensor.ndim - 1 and tensor.numel() > _WIDE
        block = _block(stays, size) if wide else 1
        if block > 1:  # as behind a flattening: one by one the last axis is the slowest
            parts = tensor.unflatten(axis, (size // block, block))
            return parts.index_select(axis, stays[::block] // block).flatten(axis)
    return tensor.index_select(axis, stays)


def _block(
    stays: Tensor,  # (kept,) sorted int64
    size: int,
) -> int:
    """The largest number in whose multiples all stretches of positions begin and end."""
    positions = stays.numpy()
    gaps = np.flatnonzero(np.diff(positions) != 1)
    edges = [positions[0], *(positions[gaps] + 1), *positions[gaps + 1], positions[-1] + 1]
    return int(np.gcd.reduce([size, *edges]))


def masked(
    model: nn.Module,
    graph: ChannelGraph,
    kept: Mapping[str, Tensor],  # group name -> (kept,) sorted int64
) -> nn.Module:
    """The model with consumers that read the removed units as zero; the rest is shared with it.

    Zeros in the consumers' weights give the same output as zeros in their inputs, because a
    consumer's output is a sum of products of the two.
    """
    tensors = stored_tensors(model, graph)
    replaced: dict[int, Any] = {id(tensor): tensor for tensor in tensors.values()}
    for group in graph.prunable:
        removed = complement(kept[group.name], group.size)
        for member in group.members if len(removed) else ():
            if member.role == "consumer":
                tensor = tensors[member.tensor]
                own = replaced[id(tensor)]
                if own is tensor:
                    own = replaced[id(tensor)] = _own_copy(tensor)
                positions = member.indices[removed].reshape(-1).to(tensor.device)
                with torch.no_grad():
                    own.index_fill_(member.axis, positions, 0)
    return copy_module(model, replaced)


def _own_copy(tensor: Tensor) -> Tensor:
    own = tensor.detach().clone()
    return nn.Parameter(own, requires_grad=False) if isinstance(tensor, nn.Parameter) else own


def check_architecture(model: nn.Module, graph: ChannelGraph) -> None:
    """Raise InputError naming the first difference between the model and the graph's tensors."""
    own = dict(model.named_parameters())
    found = {name: tuple(tensor.shape) for name, tensor in (*own.items(), *model.named_buffers())}
    for tensor in graph.tensors:
        if tensor.name not in found:
            raise InputError(
                f"the plan was made for {graph.model_type} with a tensor {tensor.name!r} of shape "
                f"{tensor.shape}, which the given {type(model).__name__} does not have; "
                "build the model with the same factory and arguments."
            )
        if found[tensor.name] != tensor.shape:
            raise InputError(
                f"the plan was made for {graph.model_type} in which {tensor.name!r} has shape "
                f"{tensor.shape}, but in the given {type(model).__name__} it has shape "
                f"{found[tensor.name]}; build the model with the same factory and arguments."
            )
    parameters = {tensor.name for tensor in graph.tensors if tensor.is_parameter}
    for name in own:
        if name not in parameters:
            raise InputError(
                f"the given {type(model).__name__} has a parameter {name!r} of shape "
                f"{found[name]} that the plan for {graph.model_type} does not know; "
                "build the model with the same factory and arguments."
            )


def _like(original: Tensor, sliced: Tensor) -> Tensor:
    layout = torch.contiguous_format
    for other in (torch.channels_last, torch.channels_last_3d):
        fits = original.ndim == (4 if other is torch.channels_last else 5)
        if fits and not original.is_contiguous() and original.is_contiguous(memory_format=other):
            layout = other
    fresh = sliced.untyped_storage()._cdata != original.untyped_storage()._cdata
    ready = fresh and sliced.is_contiguous(memory_format=layout)
    own = sliced if ready else sliced.clone(memory_format=layout)
    if isinstance(original, nn.Parameter):
        return nn.Parameter(own, requires_grad=original.requires_grad)
    return own
