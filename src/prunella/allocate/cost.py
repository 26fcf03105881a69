"""The exact cost of a network after a cut, from the graph alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import final

import numpy as np
from numpy.typing import NDArray

from prunella.core.types import ChannelGraph, Cost


@final
class CostModel:
    """Predicts parameters, multiply-adds and bytes for any number of kept units.

    An axis is as long as its fixed part plus k positions for each kept unit of the groups that own
    a share of it; a tensor's cost is the product of its axes. Multiply-adds of a convolution or
    matrix product go down with its weight's elements, as each is used at as many positions as
    before; those of products of activations are shared equally by the units they are done for. All
    of it is exact, to the unit.
    """

    def __init__(self, graph: ChannelGraph) -> None:
        tensors = graph.tensors
        self._names = [tensor.name for tensor in tensors]
        self._other_macs = graph.other_macs
        self._sizes = {group.name: group.size for group in graph.prunable}
        each = [group.product_macs // group.size for group in graph.prunable]
        self._each = np.array(each, dtype=np.int64)
        # One row for each tensor, filled up with axes of length 1.
        depth = max((len(tensor.shape) for tensor in tensors), default=0)
        shapes = [(*tensor.shape, *[1] * (depth - len(tensor.shape))) for tensor in tensors]
        self._lengths = np.array(shapes, dtype=np.int64).reshape(len(tensors), depth)
        self._is_parameter = np.array([t.is_parameter for t in tensors], dtype=np.int64)
        self._itemsize = np.array([t.itemsize for t in tensors], dtype=np.int64)
        work = [(place, t.macs, max(1, math.prod(t.shape))) for place, t in enumerate(tensors)]
        # Almost all elements of a tensor do the same work; the others need larger integers.
        even = [(place, macs // whole) for place, macs, whole in work if macs % whole == 0]
        self._even = np.array(even, dtype=np.int64).reshape(len(even), 2).T
        self._uneven = [entry for entry in work if entry[1] % entry[2]]
        row = {tensor.name: place for place, tensor in enumerate(tensors)}
        shares = [
            (row[member.tensor], member.axis, place, member.indices.shape[1])
            for place, group in enumerate(graph.prunable)
            for member in group.members
            if member.tensor in row  # a buffer that is not saved costs nothing
        ]
        self._shares = np.array(shares, dtype=np.int64).reshape(len(shares), 4)

    def cost(self, kept: Mapping[str, int]) -> Cost:
        """Cost when `kept` units of each named group stay; groups not named stay whole."""
        removed = self._removed(kept)
        numel = self._elements(removed)
        place, each_does = self._even
        macs = int(numel[place] @ each_does)
        macs += sum(int(numel[at]) * done // whole for at, done, whole in self._uneven)
        macs -= int(removed @ self._each)
        return Cost(
            params=int(numel @ self._is_parameter),
            macs=self._other_macs + macs,
            bytes=int(numel @ self._itemsize),
        )

    def macs_by_tensor(self, kept: Mapping[str, int]) -> dict[str, int]:
        """Multiply-adds that the elements of each tensor take part in, as far as they have any."""
        numel = self._elements(self._removed(kept))
        macs = {self._names[at]: int(numel[at]) * each for at, each in self._even.T.tolist()}
        macs |= {self._names[at]: int(numel[at]) * n // d for at, n, d in self._uneven}
        return {name: count for name, count in macs.items() if count}

    def _removed(self, kept: Mapping[str, int]) -> NDArray[np.int64]:
        return np.array([n - kept.get(name, n) for name, n in self._sizes.items()], np.int64)

    def _elements(self, removed: NDArray[np.int64]) -> NDArray[np.int64]:
        row, axis, group, each = self._shares.T
        lengths = self._lengths.copy()
        np.subtract.at(lengths, (row, axis), each * removed[group])
        return np.asarray(lengths.prod(axis=1), np.int64)

    @property
    def full(self) -> Cost:
        """Cost of the original."""
        return self.cost({})
