"""Rows of the matrix that a weight multiplies: what it reads at one sample and position each."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from prunella.ops.contractions import Contraction
from prunella.ops.storage import StoredTensors
from prunella.ops.windows import windows

# One tensor of shape (rows,) for the sample and for each spatial axis.
Places = tuple[Tensor, ...]


def has_plain_rows(call: Contraction, stored: StoredTensors) -> bool:
    """Whether the call multiplies a whole weight with rows: not grouped, not transposed."""
    whole = call.weight.numel() == stored.tensors[call.name].numel()
    return call.groups == 1 and not call.transposed and whole


def random_places(shape: Sequence[int], count: int, generator: torch.Generator) -> Places:
    """At most `count` different places of an array (samples, *positions), all equally likely.

    In order, as neighbours in memory are read fastest one after another.
    """
    total = torch.Size(shape).numel()
    chosen = torch.randperm(total, generator=generator)[:count].sort().values
    return tuple(torch.unravel_index(chosen, tuple(shape)))


def input_view(call: Contraction) -> Tensor:
    """What the weight multiplies: (samples, *positions, inputs..), without copies of windows."""
    if call.spatial == 0:
        return call.inputs
    inputs = call.inputs if call.inputs.ndim == call.spatial + 2 else call.inputs[None]
    return windows(inputs, call).movedim(1, 1 + call.spatial)


def output_view(call: Contraction, result: Tensor) -> Tensor:
    """What the call gives: (samples, *positions, outputs)."""
    if call.spatial and result.ndim == call.spatial + 1:
        result = result[None]
    return result.movedim(1, -1)


def rows_at(view: Tensor, places: Places) -> Tensor:
    """The rows of a view at some places; (rows, inputs or outputs), as the weight has them."""
    return view[tuple(axis.to(view.device) for axis in places)].flatten(1)
