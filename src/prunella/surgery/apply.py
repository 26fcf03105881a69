"""Slicing parameters and buffers in a copy of the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.overrides import TorchFunctionMode

from prunella.core.errors import InputError
from prunella.core.positions import (
    complement,
    removed_positions,
    shape_without,
    shapes_left,
)
from prunella.core.types import ChannelGraph
from prunella.ops import Stand, copy_module, copying, empty_on_meta, paths_of, tensors_of
from prunella.surgery.attributes import refresh_attributes

_BLOCK = 1 << 18  # elements that are selected at a time
_WIDE = 1_000_000  # elements from which on it pays to look for a quicker way of selecting


def cut(
    model: nn.Module,
    graph: ChannelGraph,
    kept: Mapping[str, Tensor],  # group name -> (kept,) sorted int64
    *,
    stand_ins: Mapping[int, Tensor] | None = None,
) -> nn.Module:
    """A copy of `model` without the units that are not kept; nothing is verified here.

    Parameters stay parameters with their `requires_grad`, type, device and memory format; tied
    parameters stay tied; module attributes such as `out_channels` follow the new shapes.

    Args:
        model: Untouched.
        graph: Traced from a model of the same architecture.
        kept: Units to keep, for every prunable group.
        stand_ins: Tensors on the meta device that are put, and cut, in place of the model's, by
            identity of these; what is not named is copied to that device.

    Raises:
        InputError: the model's tensors differ from those the graph was made from.
    """
    parameters, buffers = _named_tensors(model)
    _check_architecture(model, graph, parameters, buffers)
    tensors = parameters | buffers
    # What is found here by identity is taken as the copy, so ties and names survive.
    replaced: dict[int, Any]
    if stand_ins is None:
        replaced = _selected_tensors(tensors, removed_positions(graph, kept), model)
        around: AbstractContextManager[object] = _SharedFakes()
    else:
        replaced = {**stand_ins, **_emptied_tensors(tensors, graph, kept, stand_ins)}
        around = copying(Stand.META)
    with around:
        small = copy_module(model, replaced)
    refresh_attributes(small, graph, kept)
    return small


def _selected_tensors(
    tensors: Mapping[str, Tensor],
    removed: Mapping[str, Mapping[int, Tensor]],  # name -> axis -> positions
    model: nn.Module,
) -> dict[int, Tensor]:
    """What is left of the tensors, by their identity."""
    known: dict[tuple[int, int], Tensor] = {}
    found = {}
    for name, axes in removed.items():
        tensor = _get(tensors, name, model)
        found[id(tensor)] = without(tensor, axes, known)
    return found


def _emptied_tensors(
    tensors: Mapping[str, Tensor],
    graph: ChannelGraph,
    kept: Mapping[str, Tensor],  # group name -> (kept,) int64
    stand_ins: Mapping[int, Tensor],
) -> dict[int, Tensor]:
    """The same on the meta device, where the shapes are all there is."""
    found = {}
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    for name, shape in shapes_left(graph, kept, shapes).items():
        tensor = tensors[name]
        like = stand_ins.get(id(tensor))
        if like is not None and like.is_contiguous():
            found[id(tensor)] = empty_on_meta(like, shape)
        else:
            found[id(tensor)] = _like(tensor, tensor.detach().new_empty(shape, device="meta"))
    return found


def _named_tensors(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Parameters and buffers by name, each once; as `named_parameters` and `named_buffers`."""
    paths = paths_of(model)

    def each_once(kind: str) -> dict[str, Tensor]:
        first: dict[int, tuple[str, Tensor]] = {}
        for name, tensor in tensors_of(paths, kind):
            first.setdefault(id(tensor), (name, tensor))
        return dict(first.values())

    return each_once("_parameters"), each_once("_buffers")


def stored_tensors(model: nn.Module) -> dict[str, Tensor]:
    """All parameters and buffers by name, each once."""
    parameters, buffers = _named_tensors(model)
    return parameters | buffers


def _get(tensors: Mapping[str, Tensor], name: str, model: nn.Module) -> Tensor:
    if name not in tensors:
        raise InputError(f"{name!r} is no tensor of {type(model).__name__}.")
    return tensors[name]


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
    known: dict[tuple[int, int], Tensor] | None = None,
) -> Tensor:
    """A copy of a tensor without the given positions of some axes.

    It keeps type, device and memory format, and stays a parameter if it was one.

    Args:
        tensor: Untouched.
        removed: What goes.
        known: What stays of an axis, by the identity of what goes and the length; it is filled.
    """
    left = tensor.detach()
    if isinstance(left, FakeTensor) or left.is_meta:  # there is nothing to select
        return _like(tensor, left.new_empty(shape_without(tuple(left.shape), removed)))
    stays = [
        (axis, _complement(positions, tensor.shape[axis], {} if known is None else known))
        for axis, positions in sorted(removed.items())
    ]
    if left.ndim == 1 and left.device.type == "cpu" and type(left) is Tensor and stays:
        return _same_kind(tensor, left.index_select(0, stays[0][1]))
    if len(stays) > 1 and stays[0][0] == 0 and tensor.numel() > _BLOCK and left.is_contiguous():
        return _same_kind(tensor, _in_blocks(left, stays))
    return _like(tensor, _selected_all(left, stays))


def _in_blocks(
    tensor: Tensor,
    stays: Sequence[tuple[int, Tensor]],  # axis, (kept,) sorted int64; rows first
) -> Tensor:
    """Few rows at a time, so that what is between the steps need not leave the cache."""
    shape = list(tensor.shape)
    for axis, positions in stays:
        shape[axis] = len(positions)
    left = tensor.new_empty(shape)
    rows = max(1, _BLOCK * tensor.shape[0] // tensor.numel())
    for part, some in zip(left.split(rows), stays[0][1].split(rows), strict=True):
        part.copy_(_selected_all(tensor, [(0, some), *stays[1:]]))
    return left


def _complement(positions: Tensor, size: int, known: dict[tuple[int, int], Tensor]) -> Tensor:
    key = id(positions), size
    found = known.get(key)
    if found is None:
        found = known[key] = complement(positions, size)
    return found


def _selected_all(tensor: Tensor, stays: Sequence[tuple[int, Tensor]]) -> Tensor:
    for axis, positions in stays:  # whole rows first: they go quickest
        tensor = _selected(tensor, axis, positions)
    return tensor


def _selected(
    tensor: Tensor,
    axis: int,
    stays: Tensor,  # (kept,) sorted int64
) -> Tensor:
    """Some positions of an axis; a view where they are next to each other."""
    if tensor.device.type != "cpu" or not len(stays):
        return tensor.index_select(axis, stays.to(tensor.device))
    positions = stays.numpy()
    if positions[-1] - positions[0] == len(positions) - 1:
        return tensor.narrow(axis, int(positions[0]), len(positions))
    if axis == tensor.ndim - 1 and tensor.numel() > _WIDE:
        # As behind a flattening; along the last axis positions one by one take longest.
        block = _block(positions, tensor.shape[axis])
        parts = tensor.unflatten(axis, (-1, block))
        chosen: Tensor = parts.index_select(axis, stays[::block] // block).flatten(axis)
        return chosen
    return tensor.index_select(axis, stays)


def _block(
    positions: np.ndarray,  # (kept,) sorted int64
    size: int,
) -> int:
    """The largest number at whose multiples all stretches of positions begin and end."""
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
    tensors = stored_tensors(model)
    replaced: dict[int, Any] = {id(tensor): tensor for tensor in tensors.values()}
    for group in graph.prunable:
        removed = complement(kept[group.name], group.size)
        for member in group.members if len(removed) else ():
            if member.role == "consumer":
                tensor = _get(tensors, member.tensor, model)
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
    _check_architecture(model, graph, *_named_tensors(model))


def _check_architecture(
    model: nn.Module,
    graph: ChannelGraph,
    own: Mapping[str, Tensor],  # the model's parameters
    buffers: Mapping[str, Tensor],
) -> None:
    found = {name: tuple(tensor.shape) for name, tensor in (*own.items(), *buffers.items())}
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
    formats = () if original.is_contiguous() else (torch.channels_last, torch.channels_last_3d)
    for other in formats:
        fits = original.ndim == (4 if other is torch.channels_last else 5)
        if fits and original.is_contiguous(memory_format=other):
            layout = other
    fresh = sliced.untyped_storage()._cdata != original.untyped_storage()._cdata
    ready = fresh and sliced.is_contiguous(memory_format=layout)
    return _same_kind(original, sliced if ready else sliced.clone(memory_format=layout))


def _same_kind(original: Tensor, own: Tensor) -> Tensor:
    if isinstance(original, nn.Parameter):
        return nn.Parameter(own, requires_grad=original.requires_grad)
    return own
