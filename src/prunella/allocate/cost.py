"""The exact cost of a network after a cut, from the graph alone."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import final

from prunella.core.types import ChannelGraph, Cost


@final
class CostModel:
    """Predicts parameters, multiply-adds and bytes for any number of kept units.

    An axis is as long as its fixed part plus k positions for each kept unit of the groups that own
    a share of it; a tensor's cost is the product of its axes. Multiply-adds of a convolution or
    matrix product are its weight's elements times the output positions of one channel, which no
    cut of channels changes. All of it is exact, to the unit.
    """

    def __init__(self, graph: ChannelGraph) -> None:
        self._tensors = graph.tensors
        self._other_macs = graph.other_macs
        self._sizes = {group.name: group.size for group in graph.prunable}
        self._shares: dict[tuple[str, int], dict[str, int]] = defaultdict(dict)
        for group in graph.prunable:
            for member in group.members:
                shares = self._shares[member.tensor, member.axis]
                shares[group.name] = shares.get(group.name, 0) + member.indices.shape[1]

    def cost(self, kept: Mapping[str, int]) -> Cost:
        """Cost when `kept` units of each named group stay; groups not named stay whole."""
        params = size = 0
        macs = self._other_macs
        for tensor in self._tensors:
            numel = math.prod(
                length - self._removed(tensor.name, axis, kept)
                for axis, length in enumerate(tensor.shape)
            )
            params += numel if tensor.is_parameter else 0
            size += numel * tensor.itemsize
            macs += numel * tensor.uses
        return Cost(params=params, macs=macs, bytes=size)

    @property
    def full(self) -> Cost:
        """Cost of the original."""
        return self.cost({})

    def _removed(self, tensor: str, axis: int, kept: Mapping[str, int]) -> int:
        shares = self._shares.get((tensor, axis))
        if shares is None:
            return 0
        return sum(
            k * (self._sizes[group] - kept.get(group, self._sizes[group]))
            for group, k in shares.items()
        )
