"""From labels and ties to groups of units."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from prunella.core.types import ChannelGroup, Member, Role
from prunella.graph.labels import FIXED, Labels
from prunella.graph.shapes import equal_parts, keep_shapes

_Standing = tuple[str, bool, tuple[tuple[int, int], ...]]  # reason, exact, (split, part) ...


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Kind:
    """Classes of tied labels that own equally many positions of the same axes.

    Attributes:
        roots: (units,) the class of each unit, in the order of its positions.
        members: (tensor, axis) and the positions of each unit, (units, k).
        reason: Why they are frozen; "" if they are not.
        binding: Why labels of one unit were tied along an axis, if they were.
        exact: Whether removing one leaves the others as they are.
    """

    roots: Tensor
    members: tuple[tuple[tuple[str, int], Tensor], ...]
    reason: str
    binding: str
    exact: bool


def groups_of(labels: Labels) -> tuple[ChannelGroup, ...]:
    """Collect tied labels into units, and units with the same members into groups."""
    if not labels.axes:
        return ()
    keep_shapes(labels)
    while True:
        kinds = _kinds(labels)
        linked = _linked(kinds, labels)
        if linked is not None:
            break
        keep_shapes(labels)
    heads = [(h.module, frozenset(labels.classes(h.labels).tolist())) for h in labels.heads]
    work = _product_macs(kinds, labels)
    groups = _distinct_names(
        [_group(kind, labels, heads, macs) for kind, macs in zip(kinds, work, strict=True)]
    )
    return balanced(groups, linked)


def _kinds(labels: Labels) -> list[_Kind]:
    """Units by kind, in the order in which the model makes them."""
    classes = labels.classes(torch.arange(1, labels.count)).numpy()
    blocks = labels.axes
    block_of = np.repeat(np.arange(len(blocks)), [block.size for block in blocks])
    places = np.arange(1, labels.count) - np.array([block.first for block in blocks])[block_of]
    order = np.argsort(classes * len(blocks) + block_of, kind="stable")
    owned, at = block_of[order], places[order]
    roots, firsts, lengths = np.unique(classes[order], return_index=True, return_counts=True)
    notes = _notes(labels)
    kinds = []
    for units in _alike(owned, firsts, lengths, notes.numbers(roots)):
        owns = firsts[units, None] + np.arange(lengths[units[0]])
        shape, counts = np.unique(owned[owns[0]], return_counts=True)
        # In the order of the first tensor's positions: unit u means the same in every run.
        rank = np.argsort(at[owns[:, 0]], kind="stable")
        table = torch.from_numpy(at[owns[rank]])
        members = tuple(
            ((blocks[block].tensor, blocks[block].axis), positions)
            for block, positions in zip(
                shape.tolist(), table.split(counts.tolist(), dim=1), strict=True
            )
        )
        found = torch.from_numpy(roots[units][rank])
        reason, exact, _ = notes.of(int(found[0]))
        kinds.append(
            _Kind(
                roots=found,
                members=members,
                reason=reason or _why_not([where for where, _ in members], labels),
                binding=notes.bindings.get(int(found[0]), ""),
                exact=exact,
            )
        )
    return kinds


def _alike(
    owned: np.ndarray,  # (positions,) axis of each position, sorted by unit
    firsts: np.ndarray,  # (units,) where each unit begins in it
    lengths: np.ndarray,  # (units,)
    notes: np.ndarray,  # (units,) number of what was noted on each unit
) -> list[np.ndarray]:
    """Units that own equally many positions of the same axes and were noted the same."""
    found = []
    for length in np.unique(lengths):
        units = np.flatnonzero(lengths == length)
        rows = np.column_stack([owned[firsts[units, None] + np.arange(length)], notes[units]])
        whole = np.ascontiguousarray(rows).view(np.dtype((np.void, rows.itemsize * (length + 1))))
        _, kind = np.unique(whole.ravel(), return_inverse=True)
        by_kind = np.argsort(kind, kind="stable")
        found += np.split(units[by_kind], np.cumsum(np.bincount(kind))[:-1])
    return sorted(found, key=lambda units: int(units[0]))


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Notes:
    """What the run noted, by class of tied labels."""

    reasons: dict[int, str]
    bindings: dict[int, str]
    inexact: set[int]
    parts: dict[int, tuple[tuple[int, int], ...]]

    def of(self, root: int) -> _Standing:
        return self.reasons.get(root, ""), root not in self.inexact, self.parts.get(root, ())

    def numbers(self, roots: np.ndarray) -> np.ndarray:
        """A number for each root, equal where the same was noted; 0 for nothing."""
        noted = np.array(sorted({*self.reasons, *self.inexact, *self.parts}), dtype=np.int64)
        known: dict[_Standing, int] = {}
        reasons, parts, inexact = self.reasons, self.parts, self.inexact
        values = [
            known.setdefault(
                (reasons.get(root, ""), root not in inexact, parts.get(root, ())), len(known) + 1
            )
            for root in noted.tolist()
        ]
        numbers = np.zeros(len(roots), dtype=np.int64)
        numbers[np.searchsorted(roots, noted)] = values
        return numbers


def _notes(labels: Labels) -> _Notes:
    def by_class(texts: dict[int, str]) -> dict[int, str]:
        known: dict[int, str] = {}
        if texts:
            ordered = sorted(texts)
            for label, root in zip(
                ordered, labels.classes(torch.tensor(ordered)).tolist(), strict=True
            ):
                known.setdefault(root, texts[label])
        return known

    parts: dict[int, tuple[tuple[int, int], ...]] = {}
    for event, table in enumerate(labels.parts):
        for part, row in enumerate(labels.classes(table)):
            for root in torch.unique(row).tolist():
                parts[root] = (*parts.get(root, ()), (event, part))
    return _Notes(
        reasons=by_class(labels.reasons),
        bindings=by_class(labels.bindings),
        inexact=set(by_class(dict.fromkeys(labels.inexact - {FIXED}, "inexact"))),
        parts=parts,
    )


def _linked(kinds: list[_Kind], labels: Labels) -> list[tuple[int, ...]] | None:
    """Numbers of the groups that must stay equal; None if new ties were needed instead."""
    if not labels.parts:
        return []
    number = torch.full((labels.count,), -1)
    for place, kind in enumerate(kinds):
        if not kind.reason:
            number[kind.roots] = place
    linked: list[tuple[int, ...]] = []
    for parts in labels.parts:
        found = equal_parts(parts, number, labels)
        if found is None:
            return None
        linked.extend(found)
    return linked


def balanced(
    groups: tuple[ChannelGroup, ...], linked: list[tuple[int, ...]]
) -> tuple[ChannelGroup, ...]:
    """Name the sets of groups that keep equal numbers, each by its first group."""
    first = list(range(len(groups)))
    for numbers in linked:
        lowest = min(first[number] for number in numbers)
        joined = {first[number] for number in numbers}
        first = [lowest if number in joined else number for number in first]
    count = Counter(first)
    return tuple(
        replace(group, balance=groups[number].name) if count[number] > 1 else group
        for group, number in zip(groups, first, strict=True)
    )


def _why_not(where: list[tuple[str, int]], labels: Labels) -> str:
    roles = {labels.roles.get(key) for key in where}
    if "producer" not in roles:
        return "no layer of the model makes these channels"
    if "consumer" not in roles:
        return "no layer of the model reads these channels"
    return ""


def _product_macs(kinds: list[_Kind], labels: Labels) -> list[int]:
    """Multiply-adds of products of activations that the units of each kind do."""
    number = torch.full((labels.count,), len(kinds))
    for place, kind in enumerate(kinds):
        number[kind.roots] = place
    work = [0] * (len(kinds) + 1)
    for product in labels.products:
        doers = number[labels.classes(product.labels)]
        for place, count in zip(*torch.unique(doers, return_counts=True), strict=True):
            work[int(place)] += product.macs * int(count) // len(doers)
    return work[: len(kinds)]


def _group(
    kind: _Kind, labels: Labels, heads: list[tuple[str, frozenset[int]]], macs: int
) -> ChannelGroup:
    members = tuple(
        Member(
            tensor=tensor,
            axis=axis,
            indices=positions,
            role=labels.roles.get((tensor, axis), "carrier"),
        )
        for (tensor, axis), positions in kind.members
    )
    reason = kind.reason
    if not reason and len(kind.roots) == 1:
        reason = kind.binding or "all of its channels are tied together, and one must remain"
    roots = set(kind.roots.tolist())
    return ChannelGroup(
        name=_name(members),
        size=len(kind.roots),
        prunable=not reason,
        reason=reason,
        members=members,
        heads=tuple(sorted({module for module, found in heads if found == roots})),
        product_macs=macs,
        exact=kind.exact,
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
