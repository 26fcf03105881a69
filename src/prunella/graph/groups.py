"""From labels and ties to groups of units."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from prunella.core.types import ChannelGroup, Member, Role
from prunella.graph.labels import Axis, Labels

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


def _name(members: tuple[Member, ...]) -> str:
    by_role: dict[Role, list[Member]] = defaultdict(list)
    for member in members:
        by_role[member.role].append(member)
    for role in ("producer", "carrier", "consumer"):
        for member in by_role.get(role, ()):  # type: ignore[call-overload]
            layer = member.tensor.rpartition(".")[0] or member.tensor
            return layer if role == "producer" else f"{layer} (input)"
    return "group"


def _distinct_names(groups: list[ChannelGroup]) -> tuple[ChannelGroup, ...]:
    """Groups cut from one layer's channels are told apart by their first channel."""
    count: dict[str, int] = defaultdict(int)
    for group in groups:
        count[group.name] += 1
    named = []
    for group in groups:
        name = group.name
        if count[name] > 1:
            first = group.members[0]
            name = f"{name}[{int(first.indices[0, 0])}:]"
        named.append(
            ChannelGroup(
                name=name,
                size=group.size,
                prunable=group.prunable,
                reason=group.reason,
                members=group.members,
            )
        )
    return tuple(named)


__all__ = ["Axis", "groups_of"]
