"""Numbers that modules keep and their code splits by, found by value among their attributes.

A module that splits 64 channels into halves may hold 64, 32 or (32, 32). Such a number is only a
candidate: the trial cut tells whether the code really runs by it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from prunella.core.types import ChannelGraph, ChannelGroup, Width
from prunella.graph.labels import FIXED, Labels
from prunella.graph.splits import Split

_Use = tuple[str, int, tuple[int, ...]]  # attribute, place in it or -1, numbers of the parts in it


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Candidate:
    """Attributes of one kind of module that may be what its code splits by.

    Attributes:
        kind: The class of the modules.
        names: The attributes.
        widths: How they would follow, by name of group.
    """

    kind: type[nn.Module]
    names: tuple[str, ...]
    widths: Mapping[str, tuple[Width, ...]]


def freeze_lost_splits(labels: Labels, model: nn.Module) -> None:
    """Freeze unequal parts whose sizes are no numbers of the module that split them."""
    for split in labels.splits:
        if not split.is_equal and not _uses(model.get_submodule(split.module), split):
            for part in split.parts:
                labels.freeze(part, split.reason)


def candidates(
    labels: Labels, groups: Sequence[ChannelGroup], model: nn.Module
) -> tuple[Candidate, ...]:
    """Attributes that splits may have been made by, in the order of the splits."""
    unit_of, group_of = _owners(labels, groups)
    found: dict[tuple[type[nn.Module], tuple[str, ...]], dict[str, set[Width]]] = {}
    for split in labels.splits:
        module = model.get_submodule(split.module)
        shares = [_shares(_line(part, split.axis, labels), unit_of, group_of, groups)
                  for part in split.parts]  # fmt: skip
        if any(share is None for share in shares):
            continue
        for uses in _uses(module, split):
            names = tuple(dict.fromkeys(name for name, _, _ in uses))
            widths = found.setdefault((type(module), names), defaultdict(set))
            for name, place, parts in uses:
                attribute = f"{split.module}.{name}".lstrip(".")
                for group, step in _sum([shares[part] or {} for part in parts]).items():
                    widths[group].add(Width(attribute=attribute, place=place, step=step))
    return tuple(
        Candidate(
            kind=kind,
            names=names,
            widths={
                group: tuple(sorted(own, key=lambda width: (width.attribute, width.place)))
                for group, own in widths.items()
            },
        )
        for (kind, names), widths in found.items()
    )


def with_widths(graph: ChannelGraph, candidate: Candidate) -> ChannelGraph:
    """The graph whose cuts change the candidate's attributes as well."""
    groups = tuple(
        replace(group, widths=(*group.widths, *candidate.widths.get(group.name, ())))
        for group in graph.groups
    )
    return replace(graph, groups=groups)


def _uses(module: nn.Module, split: Split) -> list[list[_Use]]:
    """Sets of attributes that hold the sizes of the split; any one of them may be what counts."""
    sizes, every = split.sizes, tuple(range(len(split.sizes)))
    found: list[list[_Use]] = []
    single: list[_Use] = []
    for name, value in vars(module).items():
        if type(value) in (tuple, list) and tuple(value) == sizes:
            found.append([(name, place, (place,)) for place in every])
        elif type(value) is int and split.is_equal and value == sum(sizes):
            found.append([(name, -1, every)])
        elif type(value) is int and value in sizes:
            single.append((name, -1, (sizes.index(value),)))
    if split.is_equal:
        found += [[use] for use in single]
    elif {part for _, _, parts in single for part in parts} == {sizes.index(n) for n in sizes}:
        found.append(single)
    return found


def _owners(labels: Labels, groups: Sequence[ChannelGroup]) -> tuple[Tensor, Tensor]:
    """The unit and the group of each label, -1 for none; both (labels,)."""
    unit_of, group_of = torch.full((2, labels.count), -1)
    for number, group in enumerate(groups):
        for member in group.members:
            own = labels.axis(member.tensor, member.axis)[member.indices]  # (units, k)
            unit_of[own] = torch.arange(group.size)[:, None]
            group_of[own] = number
    return unit_of, group_of


def _line(part: Tensor, axis: int, labels: Labels) -> Tensor | None:
    """One label for each position of a part, (positions,); None if they differ elsewhere."""
    others = [other for other in range(part.ndim) if other != axis]
    found = labels.constant_along(part, others)
    return None if found is None else found.reshape(-1)


def _shares(
    line: Tensor | None, unit_of: Tensor, group_of: Tensor, groups: Sequence[ChannelGroup]
) -> dict[str, int] | None:
    """Positions that each unit of each group has in a part; None if its units differ in that."""
    if line is None:
        return None
    line = line[line != FIXED]
    shares = {}
    for number in torch.unique(group_of[line]).tolist():
        own = unit_of[line[group_of[line] == number]]
        counts = own.bincount(minlength=groups[number].size)
        if int(counts.min()) != int(counts.max()):
            return None
        shares[groups[number].name] = int(counts.max())
    return shares


def _sum(shares: Sequence[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = defaultdict(int)
    for share in shares:
        for group, count in share.items():
            total[group] += count
    return total
