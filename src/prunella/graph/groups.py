"""From labels and ties to groups of units."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from prunella.core.types import ChannelGroup, Member, Role
from prunella.graph.labels import Labels

Signature = tuple[tuple[str, int, int], ...]  # (tensor, axis, positions of one unit), sorted


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Unit:
    """A class of tied labels: what must be removed together."""

    positions: dict[tuple[str, int], list[int]]  # (tensor, axis) -> positions
    reason: str

    @property
    def signature(self) -> Signature:
        return tuple((t, a, len(p)) for (t, a), p in self.positions.items())


def groups_of(labels: Labels) -> tuple[ChannelGroup, ...]:
    """Collect tied labels into units, and units with the same members into groups."""
    if not labels.axes:
        return ()
    classes = _classes(labels)
    units = _units(labels, classes)
    alike: dict[tuple[Signature, str], list[_Unit]] = defaultdict(list)
    for unit in units:
        alike[unit.signature, unit.reason].append(unit)
    groups = [_group(members, labels) for members in alike.values()]
    return _distinct_names(groups)


def _classes(labels: Labels) -> np.ndarray:
    """Number of the connected class of each label; shape (count,)."""
    ties = labels.ties
    ones = np.ones(len(ties), dtype=np.int8)
    matrix = coo_array((ones, (ties[:, 0], ties[:, 1])), shape=(labels.count, labels.count))
    return np.asarray(connected_components(matrix, directed=False)[1])


def _units(labels: Labels, classes: np.ndarray) -> list[_Unit]:
    reasons: dict[int, str] = {}
    for label, reason in sorted(labels.frozen.items()):
        reasons.setdefault(int(classes[label]), reason)
    positions: dict[int, dict[tuple[str, int], list[int]]] = {}
    for block in labels.axes:
        key = (block.tensor, block.axis)
        for position, found in enumerate(classes[block.first : block.first + block.size].tolist()):
            positions.setdefault(found, {}).setdefault(key, []).append(position)
    return [
        _Unit(positions=where, reason=reasons.get(found) or _why_not(where, labels))
        for found, where in positions.items()
    ]


def _why_not(where: dict[tuple[str, int], list[int]], labels: Labels) -> str:
    roles = {labels.roles.get(key) for key in where}
    if "producer" not in roles:
        return "no layer of the model makes these channels"
    if "consumer" not in roles:
        return "no layer of the model reads these channels"
    return ""


def _group(units: list[_Unit], labels: Labels) -> ChannelGroup:
    # In the order of the first tensor's positions, so that unit u means the same in every run.
    units = sorted(units, key=lambda unit: next(iter(unit.positions.values())))
    members = tuple(
        Member(
            tensor=tensor,
            axis=axis,
            indices=torch.tensor([unit.positions[tensor, axis] for unit in units]),
            role=labels.roles.get((tensor, axis), "carrier"),
        )
        for tensor, axis in units[0].positions
    )
    reason = units[0].reason
    if not reason and len(units) == 1:
        reason = "all of its channels are tied together, and one unit must remain"
    return ChannelGroup(
        name=_name(members), size=len(units), prunable=not reason, reason=reason, members=members
    )


def _namesake(members: tuple[Member, ...]) -> Member:
    """The member that gives a group its name: the first that makes its channels, if any does."""
    order: dict[Role, int] = {"producer": 0, "carrier": 1, "consumer": 2}
    return min(members, key=lambda member: order[member.role])


def _name(members: tuple[Member, ...]) -> str:
    member = _namesake(members)
    layer = member.tensor.rpartition(".")[0] or member.tensor
    return layer if member.role == "producer" else f"{layer} (input)"


def _distinct_names(groups: list[ChannelGroup]) -> tuple[ChannelGroup, ...]:
    """Groups of one name are told apart by tensor and first channel, then by their place."""
    for suffix in (_first_channel, _tensor_and_channel):
        count = Counter(group.name for group in groups)
        groups = [
            replace(group, name=suffix(group)) if count[group.name] > 1 else group
            for group in groups
        ]
    seen: Counter[str] = Counter()
    named = []
    for group in groups:
        seen[group.name] += 1
        again = seen[group.name]
        named.append(group if again == 1 else replace(group, name=f"{group.name} #{again}"))
    return tuple(named)


def _first_channel(group: ChannelGroup) -> str:
    return f"{group.name}[{int(_namesake(group.members).indices[0, 0])}:]"


def _tensor_and_channel(group: ChannelGroup) -> str:
    member = _namesake(group.members)
    return f"{member.tensor} axis {member.axis}[{int(member.indices[0, 0])}:]"
