"""Slicing parameters and buffers in a copy of the model."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.overrides import TorchFunctionMode

from prunella.core.errors import InputError
from prunella.core.positions import complement, removed_positions, shape_without
from prunella.core.types import ChannelGraph
from prunella.ops import empty_containers
from prunella.surgery.attributes import refresh_attributes


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
    # What `deepcopy` finds here by identity it takes as the copy, so ties and names survive.
    replaced = empty_containers(model)
    for name, axes in removed_positions(graph, kept).items():
        tensor = _get(model, name)
        replaced[id(tensor)] = without(tensor, axes)
    with _SharedFakes():
        small = copy.deepcopy(model, replaced)
    refresh_attributes(small, graph, kept)
    return small


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
    for axis, positions in removed.items():
        stays = complement(positions, tensor.shape[axis])
        left = left.index_select(axis, stays.to(left.device))
    return _like(tensor, left)


def masked(
    model: nn.Module,
    graph: ChannelGraph,
    kept: Mapping[str, Tensor],  # group name -> (kept,) sorted int64
) -> nn.Module:
    """The model with consumers that read the removed units as zero; the rest is shared with it.

    Zeros in the consumers' weights give the same output as zeros in their inputs, because a
    consumer's output is a sum of products of the two.
    """
    replaced = empty_containers(model)
    replaced |= {id(t): t for t in (*model.parameters(), *model.buffers())}
    for group in graph.prunable:
        removed = complement(kept[group.name], group.size)
        for member in group.members if len(removed) else ():
            if member.role == "consumer":
                tensor = _get(model, member.tensor)
                own = replaced[id(tensor)]
                if own is tensor:
                    own = replaced[id(tensor)] = _own_copy(tensor)
                positions = member.indices[removed].reshape(-1).to(tensor.device)
                with torch.no_grad():
                    cast("Tensor", own).index_fill_(member.axis, positions, 0)
    return copy.deepcopy(model, replaced)


def _own_copy(tensor: Tensor) -> Tensor:
    own = tensor.detach().clone()
    return nn.Parameter(own, requires_grad=False) if isinstance(tensor, nn.Parameter) else own


def check_architecture(model: nn.Module, graph: ChannelGraph) -> None:
    """Raise InputError naming the first difference between the model and the graph's tensors."""
    found = {name: tuple(tensor.shape) for name, tensor in model.named_parameters()}
    found |= {name: tuple(tensor.shape) for name, tensor in model.named_buffers()}
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
    for name, _ in model.named_parameters():
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
    own = sliced.clone(memory_format=layout)
    if isinstance(original, nn.Parameter):
        return nn.Parameter(own, requires_grad=original.requires_grad)
    return own


def _get(model: nn.Module, name: str) -> Tensor:
    path, _, leaf = name.rpartition(".")
    tensor = None
    with contextlib.suppress(AttributeError):
        tensor = getattr(model.get_submodule(path), leaf)
    if not isinstance(tensor, Tensor):
        raise InputError(f"{name!r} is no tensor of {type(model).__name__}.")
    return tensor
