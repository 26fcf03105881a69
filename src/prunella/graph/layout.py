"""Tensors of labels that repeat themselves along axes, without unfolding them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

_LARGE = 1 << 12


def compact(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Shrink axes along which all tensors (of one shape) merely repeat themselves to length 1."""
    first = tensors[0]
    if len(tensors) == 1:
        steps = first.stride()
        axes = [axis for axis, size in enumerate(first.shape) if size > 1 and not steps[axis]]
    else:
        every = [tensor.stride() for tensor in tensors]
        axes = [
            axis
            for axis, size in enumerate(first.shape)
            if size > 1 and not any(steps[axis] for steps in every)
        ]
    return tuple(shrunk(tensor, axes) for tensor in tensors) if axes else tensors


def shrunk(labels: Tensor, axes: Sequence[int]) -> Tensor:
    """The first position of each of the axes, as an axis of length 1; none may be empty."""
    shape = list(labels.shape)
    for axis in axes:
        if not shape[axis]:
            raise IndexError(f"axis {axis} of labels of shape {tuple(labels.shape)} is empty")
        shape[axis] = 1
    return labels.as_strided(shape, labels.stride(), labels.storage_offset())


def numbers_of(labels: Tensor) -> np.ndarray:
    """The labels in one row, without axes along which they merely repeat themselves."""
    numbers: np.ndarray = compact(labels)[0].numpy().reshape(-1)
    return numbers


def distinct(numbers: np.ndarray) -> np.ndarray:
    """The numbers in order, each once."""
    ordered = np.sort(numbers, axis=None)
    first = np.ones(len(ordered), dtype=np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    found: np.ndarray = ordered[first]
    return found


def is_rising(numbers: np.ndarray) -> bool:
    """Whether each of the numbers is larger than the one before it."""
    return bool((numbers[1:] > numbers[:-1]).all())


def thin(labels: Tensor) -> Tensor:
    """The same labels, expanded where a large copy merely repeats them along an axis."""
    stored = math.prod(
        size for size, step in zip(labels.shape, labels.stride(), strict=True) if step
    )
    if stored < _LARGE:
        return labels
    found = labels
    for axis in range(labels.ndim):
        first = found.narrow(axis, 0, 1)
        if found.stride(axis) and torch.equal(*compact(found, first.expand_as(found))):
            found = first
    return found.expand(labels.shape)


def spread(
    channels: Tensor,  # (size,)
    shape: Sequence[int],
    axis: int,
) -> Tensor:
    """Labels of channels along one axis, repeated along all others."""
    steps = [0] * len(shape)
    if shape[axis] != len(channels):
        own = [-1 if place == axis else 1 for place in range(len(shape))]
        return channels.view(own).expand(tuple(shape))
    steps[axis] = channels.stride(0)
    return channels.as_strided(tuple(shape), steps, channels.storage_offset())


def varying_axes(labels: Tensor) -> list[int]:
    """Axes along which the labels as numbers are not all the same."""
    return [
        axis
        for axis in range(labels.ndim)
        if labels.shape[axis] > 1
        and labels.stride(axis) != 0
        and not torch.equal(*compact(labels, labels.narrow(axis, 0, 1).expand_as(labels)))
    ]
