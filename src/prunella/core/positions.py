"""Which positions of which tensors go when units are removed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from prunella.core.types import ChannelGraph


def removed_positions(
    graph: ChannelGraph,
    kept: Mapping[str, Tensor],  # group name -> (kept,) int64
) -> dict[str, dict[int, Tensor]]:
    """For each tensor and axis that gets shorter, the positions that go.

    Where the same positions go, as in all tensors of a batch norm, it is one and the same tensor.
    """
    # NumPy: there are thousands of small tables, and a call of torch costs several of its.
    parts: dict[str, dict[int, list[np.ndarray]]] = defaultdict(lambda: defaultdict(list))
    for group in graph.prunable:
        gone = complement(kept[group.name], group.size).numpy()
        for member in group.members if len(gone) else ():
            positions = member.indices.numpy().take(gone, axis=0).reshape(-1)
            parts[member.tensor][member.axis].append(positions)
    shared: dict[bytes, Tensor] = {}

    def joined(found: list[np.ndarray]) -> Tensor:
        positions = found[0] if len(found) == 1 else np.concatenate(found)
        written = positions.tobytes()
        known = shared.get(written)
        return shared.setdefault(written, torch.from_numpy(positions)) if known is None else known

    return {
        name: {axis: joined(found) for axis, found in axes.items()} for name, axes in parts.items()
    }


def shapes_left(
    graph: ChannelGraph,
    kept: Mapping[str, Tensor],  # group name -> (kept,) int64
    shapes: Mapping[str, tuple[int, ...]],
) -> dict[str, tuple[int, ...]]:
    """The shapes of the tensors that get shorter, with fewer steps than from the positions."""
    left: dict[str, list[int]] = {}
    for group in graph.prunable:
        gone = group.size - len(kept[group.name])
        for member in group.members if gone else ():
            shape = left.get(member.tensor)
            if shape is None:
                shape = left[member.tensor] = list(shapes[member.tensor])
            shape[member.axis] -= gone * member.indices.shape[1]
    return {name: tuple(shape) for name, shape in left.items()}


def complement(positions: Tensor, size: int) -> Tensor:
    """The positions in [0, size) that are not among the given ones, in order."""
    stays = np.ones(size, dtype=np.bool_)
    stays[positions.numpy()] = False
    return torch.from_numpy(np.flatnonzero(stays))


def shape_without(
    shape: tuple[int, ...],
    removed: Mapping[int, Tensor],  # axis -> positions
) -> tuple[int, ...]:
    """The shape that a tensor has left when positions of some axes are removed."""
    return tuple(
        length - len(removed[axis]) if axis in removed else length
        for axis, length in enumerate(shape)
    )


def reading_factors(
    graph: ChannelGraph,
    kept: Mapping[str, Tensor],  # group name -> (kept,) int64
    scales: Mapping[str, Tensor],  # group name -> (kept,)
) -> dict[str, dict[int, Tensor]]:
    """For each weight and axis that reads scaled units, the factor of every position; float64.

    A position that belongs to no scaled unit, or to one that goes, has factor 1.
    """
    ends: dict[tuple[str, int], int] = defaultdict(int)
    for group in graph.groups:
        for member in group.members:
            last = int(member.indices.max()) + 1 if member.indices.numel() else 0
            ends[member.tensor, member.axis] = max(ends[member.tensor, member.axis], last)
    factors: dict[str, dict[int, Tensor]] = defaultdict(dict)
    for name, values in scales.items():
        for member in graph.group(name).members:
            if member.role == "consumer":
                axes = factors[member.tensor]
                if member.axis not in axes:
                    length = ends[member.tensor, member.axis]
                    axes[member.axis] = torch.ones(length, dtype=torch.float64)
                axes[member.axis][member.indices[kept[name]]] = values.double()[:, None]
    return factors
