"""Groups of the same kind in different layers, kept at equal numbers."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace

from prunella.core.types import ChannelGraph
from prunella.graph.groups import balanced

_NUMBER = re.compile(r"(?<![^._])\d+(?![^._])")  # as in "layers.3.mlp" and "encoder_layer_3.mlp"


def with_equal_layers(graph: ChannelGraph) -> ChannelGraph:
    """The graph with prunable groups linked whose names differ in the numbers of layers only.

    Groups of another size are of another kind. What is linked already, as parts of a split are,
    stays so.
    """
    kinds: dict[tuple[str, int], list[int]] = defaultdict(list)
    linked: dict[str, list[int]] = defaultdict(list)
    for place, group in enumerate(graph.groups):
        if group.prunable:
            kinds[_NUMBER.sub("#", group.name), group.size].append(place)
            if group.balance:
                linked[group.balance].append(place)
    together = [tuple(places) for places in (*kinds.values(), *linked.values())]
    return replace(graph, groups=balanced(graph.groups, together))
