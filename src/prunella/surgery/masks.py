"""The masked original without a copy of its weights."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prunella.core.positions import complement
from prunella.core.types import ChannelGraph
from prunella.ops import copy_module, modules_of
from prunella.surgery.apply import stored_tensors

_FORWARDS = tuple(kind.forward for kind in (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d))


def masked_at_inputs(
    model: nn.Module,
    graph: ChannelGraph,
    kept: Mapping[str, Tensor],  # group name -> (kept,) sorted int64
) -> nn.Module:
    """What `masked` gives, made of the model's own tensors as far as possible.

    Linear layers and convolutions have their inputs multiplied with zeros and ones in place of
    their weights, which gives the same sums; code that reads their `weight` gets one with zeros.
    Other consumers have a masked copy of their tensor.
    """
    tensors = stored_tensors(model)
    known: dict[int, Any] = {id(tensor): tensor for tensor in tensors.values()}
    owners = _owners(model)
    at_inputs: list[tuple[nn.Module, Tensor]] = []
    for name, axes in _unread(graph, kept).items():
        tensor = tensors[name]
        readers = owners[id(tensor)]
        if list(axes) == [1] and all(_masks_inputs(module, leaf) for module, leaf in readers):
            removed = torch.cat(axes[1]).to(tensor.device)
            at_inputs += [(module, removed) for module, _ in readers]
        else:
            known[id(tensor)] = _with_zeros(tensor, axes)
    copied = copy_module(model, known)
    for module, removed in at_inputs:
        _mask_inputs(known[id(module)], removed)
    return copied


def _unread(graph: ChannelGraph, kept: Mapping[str, Tensor]) -> dict[str, dict[int, list[Tensor]]]:
    """For each tensor and axis of consumers the positions that read removed units."""
    found: dict[str, dict[int, list[Tensor]]] = defaultdict(lambda: defaultdict(list))
    for group in graph.prunable:
        removed = complement(kept[group.name], group.size)
        for member in group.members if len(removed) else ():
            if member.role == "consumer":
                positions = member.indices.index_select(0, removed).reshape(-1)
                found[member.tensor][member.axis].append(positions)
    return found


def _owners(model: nn.Module) -> dict[int, list[tuple[nn.Module, str]]]:
    """The modules that hold each parameter or buffer, and its name there."""
    owners: dict[int, list[tuple[nn.Module, str]]] = defaultdict(list)
    for module in modules_of(model):
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None:
                owners[id(tensor)].append((module, name))
    return owners


def _masks_inputs(module: nn.Module, leaf: str) -> bool:
    """Whether the forward of a module is known to read its weight as a sum over its inputs."""
    return leaf == "weight" and type(module).forward in _FORWARDS


def _with_zeros(tensor: Tensor, axes: Mapping[int, list[Tensor]]) -> Tensor:
    own = tensor.detach().clone()
    for axis, positions in axes.items():
        own.index_fill_(axis, torch.cat(positions).to(own.device), 0)
    return nn.Parameter(own, requires_grad=False) if isinstance(tensor, nn.Parameter) else own


def _mask_inputs(module: nn.Module, removed: Tensor) -> None:
    """Give a module the code that leaves some of its inputs out."""
    weight = cast("Tensor", module.weight)
    mask = torch.ones(weight.shape[1], dtype=weight.dtype, device=weight.device)
    mask[removed] = 0
    module.__class__ = _masked_kind(type(module))  # type: ignore[arg-type]
    vars(module).update(_mask=mask, _removed=removed)


@cache
def _masked_kind(kind: type[nn.Module]) -> type[nn.Module]:
    base = _MaskedLinear if issubclass(kind, nn.Linear) else _MaskedConvolution
    return type(f"Masked{kind.__name__}", (base, kind), {})


class _MaskedWeight:
    """A module that reads only some of its inputs.

    Attributes:
        _mask: (inputs,), of each group of a convolution; zero for inputs that are left out.
        _removed: Their positions.
    """

    _parameters: dict[str, Tensor]
    _mask: Tensor
    _removed: Tensor
    bias: Tensor | None

    @property
    def weight(self) -> Tensor:
        """For code that reads the weight without calling the module."""
        return self._parameters["weight"].index_fill(1, self._removed, 0)


class _MaskedLinear(_MaskedWeight):
    def forward(
        self,
        inputs: Tensor,  # (..., inputs)
    ) -> Tensor:
        return F.linear(inputs * self._mask, self._parameters["weight"], self.bias)


class _MaskedConvolution(_MaskedWeight):
    groups: int
    _conv_forward: Any

    def forward(
        self,
        inputs: Tensor,  # (N, inputs, ...) or (inputs, ...)
    ) -> Tensor:
        weight = self._parameters["weight"]
        mask = self._mask.repeat(self.groups) if self.groups > 1 else self._mask
        shaped = mask.view(-1, *(1 for _ in weight.shape[2:]))
        out: Tensor = self._conv_forward(inputs * shaped, weight, self.bias)
        return out
