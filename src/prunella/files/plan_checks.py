"""Whether plain data can be a plan; asked before anything of the size it claims is allocated."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, get_args

import torch
from torch import Tensor

from prunella.core.types import ChannelGraph, Role
from prunella.core.words import shown
from prunella.files.fields import entry, items, number, text, truth, whole

# Positions that all members of a plan own, one number of 8 bytes each. A language model of
# 70 billion parameters has some 15 million channels' positions.
MOST_POSITIONS = 1 << 25
MOST_ELEMENTS = 1 << 28  # of all example inputs; of floating-point ones only the shape is stored
_MOST_AXES = 16
_MOST_BYTES = 1 << 53  # of all stored tensors; costs are added up in 64 bits
_MOST_PARTS = 1 << 12  # of one split
_MOST_DEPTH = 32  # of lists and dictionaries in the example inputs

# Element types of example inputs, by the name they have in a file.
_INTEGERS = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
DTYPES: Mapping[str, torch.dtype] = {
    str(dtype).removeprefix("torch."): dtype for dtype in (*_INTEGERS, *_FLOATS)
}


def check_plan(data: Any) -> None:
    """Raise ValueError, naming the place, unless plain data has the form of a plan.

    Every position of every member lies on its axis, no axis has more owners than positions, and
    the example inputs and all positions together stay below the limits above.
    """
    text(entry(data, "method", "the plan"), "method")
    whole(entry(data, "seed", "the plan"), "seed", least=-(2**64), most=2**64)
    requested = entry(data, "requested", "the plan")
    if requested is not None:
        text(entry(requested, "kind", "requested"), "requested.kind")
        entry(requested, "fraction", "requested")  # the budget itself checks it
    graph = entry(data, "graph", "the plan")
    text(entry(graph, "model_type", "graph"), "graph.model_type")
    # The multiply-adds counted for stored tensors may exceed those of the whole run.
    whole(entry(graph, "other_macs", "graph"), "graph.other_macs", least=-(2**63))
    _check_inputs(
        items(entry(graph, "inputs", "graph"), "graph.inputs"),
        entry(graph, "keywords", "graph"),
    )
    shapes = _check_tensors(items(entry(graph, "tensors", "graph"), "graph.tensors"))
    sizes = _check_groups(items(entry(graph, "groups", "graph"), "graph.groups"), shapes)
    kept = entry(data, "kept", "the plan")
    _check_kept(kept, sizes)
    _check_scales(entry(data, "scales", "the plan"), kept)
    entry(data, "latency", "the plan")


def check_disjoint(graph: ChannelGraph) -> None:
    """Raise ValueError if one position of an axis has two owners."""
    owned: dict[tuple[str, int], list[Tensor]] = defaultdict(list)
    for group in graph.groups:
        for member in group.members:
            owned[member.tensor, member.axis].append(member.indices.reshape(-1))
    for (tensor, axis), parts in owned.items():
        positions = torch.cat(parts)
        if len(positions.unique()) != len(positions):
            raise ValueError(f"positions of {shown(tensor)} on axis {axis} are owned twice")


def _check_tensors(rows: list[Any]) -> dict[str, tuple[int, ...]]:
    """The shapes of the stored tensors, by name."""
    shapes: dict[str, tuple[int, ...]] = {}
    size = 0
    for place, row in enumerate(rows):
        where = f"graph.tensors[{place}]"
        name, shape, itemsize, is_parameter, macs = items(row, where, count=5)
        text(name, where)
        whole(itemsize, f"{where}, the bytes of an element", least=1, most=16)
        truth(is_parameter, f"{where}, whether it is a parameter")
        whole(macs, f"{where}, the multiply-adds")
        if name in shapes:
            raise ValueError(f"{where} is {shown(name)} for the second time")
        shapes[name] = _shape(shape, f"{where}, the shape")
        size += itemsize * math.prod(shapes[name])
    if size > _MOST_BYTES:
        raise ValueError(f"graph.tensors hold {size} bytes, at most {_MOST_BYTES} are read")
    return shapes


def _shape(value: Any, where: str) -> tuple[int, ...]:
    sizes = items(value, where)
    if len(sizes) > _MOST_AXES:
        raise ValueError(f"{where} has {len(sizes)} axes, at most {_MOST_AXES} are read")
    return tuple(whole(size, where) for size in sizes)


def _check_groups(rows: list[Any], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    """The sizes of the prunable groups, by name."""
    sizes: dict[str, int] = {}
    names: set[str] = set()
    owned: dict[tuple[str, int], int] = defaultdict(int)
    for place, group in enumerate(rows):
        where = f"graph.groups[{place}]"
        name = text(entry(group, "name", where), f"{where}.name")
        size = whole(entry(group, "size", where), f"{where}.size", least=1, most=MOST_POSITIONS)
        reason = text(entry(group, "reason", where), f"{where}.reason")
        if name in names:
            raise ValueError(f"{where} is {shown(name)} for the second time")
        names.add(name)
        text(entry(group, "balance", where), f"{where}.balance")
        truth(entry(group, "exact", where), f"{where}.exact")
        whole(entry(group, "product_macs", where), f"{where}.product_macs")
        for module in items(entry(group, "heads", where), f"{where}.heads"):
            text(module, f"{where}.heads")
        _check_widths(items(entry(group, "widths", where), f"{where}.widths"), f"{where}.widths")
        members = items(entry(group, "members", where), f"{where}.members")
        if not members:
            raise ValueError(f"{where} has no members")
        for count, row in enumerate(members):
            tensor, axis, width = _check_member(row, f"{where}.members[{count}]", size, shapes)
            owned[tensor, axis] += size * width
        if not reason:
            sizes[name] = size
    _check_owned(owned, shapes)
    return sizes


def _check_widths(rows: list[Any], where: str) -> None:
    for row in rows:
        attribute, place, step = items(row, where, count=3)
        text(attribute, f"{where}, the name")
        whole(place, f"{where}, the place", least=-1, most=_MOST_PARTS)
        whole(step, f"{where}, the step", most=MOST_POSITIONS)


def _check_owned(
    owned: Mapping[tuple[str, int], int], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    for (tensor, axis), count in owned.items():
        if tensor in shapes and count > shapes[tensor][axis]:
            raise ValueError(
                f"{count:,} positions of {shown(tensor)} are owned on axis {axis}, which has "
                f"{shapes[tensor][axis]:,}"
            )
    if sum(owned.values()) > MOST_POSITIONS:
        raise ValueError(
            f"its groups own {sum(owned.values()):,} positions; at most {MOST_POSITIONS:,} are read"
        )


def _check_member(
    row: Any, where: str, size: int, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[str, int, int]:
    """Tensor, axis and positions of one unit."""
    tensor, axis, role, stored = items(row, where, count=4)
    text(tensor, where)
    # Buffers that are never saved are in no list of tensors; the model to be cut knows them.
    axes = len(shapes[tensor]) if tensor in shapes else _MOST_AXES
    whole(axis, f"{where}, the axis", most=axes - 1)
    if role not in get_args(Role):
        raise ValueError(f"{where} has the role {shown(role)}")
    length = shapes[tensor][axis] if tensor in shapes else MOST_POSITIONS
    data = items(stored, f"{where}, the positions")
    if data and isinstance(data[0], list):
        return tensor, axis, _check_listed(data, where, size, length)
    first, across, within, units, width = (
        whole(n, f"{where}, the positions", least=-length, most=length)
        for n in items(data, f"{where}, the positions", count=5)
    )
    whole(width, f"{where}, the positions of a unit", least=1, most=max(1, length))
    ends = [
        first + far * across * (units - 1) + wide * within * (width - 1)
        for far in (0, 1)
        for wide in (0, 1)
    ]
    if units != size or min(ends) < 0 or max(ends) >= length:
        raise ValueError(
            f"{where} has {units} units at positions {min(ends)} to {max(ends)}, in a group of "
            f"{size} on an axis of {length}"
        )
    return tensor, axis, width


def _check_listed(data: list[Any], where: str, size: int, length: int) -> int:
    width = len(data[0])
    if len(data) != size or not width:
        raise ValueError(f"{where} has {len(data)} units of {width} positions in a group of {size}")
    for unit in data:
        for position in items(unit, f"{where}, a unit", count=width):
            whole(position, f"{where}, a position", most=length - 1)
    return width


def _check_kept(kept: Any, sizes: Mapping[str, int]) -> None:
    for name, size in sizes.items():
        units = items(entry(kept, name, "kept"), f"kept.{shown(name)}")
        for unit in units:
            whole(unit, f"kept.{shown(name)}", most=size - 1)
    for name in kept:
        if name not in sizes:
            raise ValueError(f"kept names {shown(name)}, which is no prunable group")


def _check_scales(scales: Any, kept: Mapping[str, Any]) -> None:
    if not isinstance(scales, dict):
        raise ValueError(f"scales is {shown(scales)}, expected an object")
    for name, values in scales.items():
        if name not in kept:
            raise ValueError(f"scales names {shown(name)}, which is no prunable group")
        where = f"scales.{shown(name)}"
        for value in items(values, where, count=len(kept[name])):
            number(value, where)


def _check_inputs(values: list[Any], keywords: Any) -> None:
    if not isinstance(keywords, dict):
        raise ValueError(f"graph.keywords is {shown(keywords)}, expected names with values")
    found = sum(_elements(value, f"graph.inputs[{i}]", 0) for i, value in enumerate(values))
    found += sum(_elements(value, f"graph.keywords.{shown(k)}", 0) for k, value in keywords.items())
    if not found:
        raise ValueError("graph.inputs holds no tensor")
    if found > MOST_ELEMENTS:
        raise ValueError(f"graph.inputs has {found:,} elements; at most {MOST_ELEMENTS:,} are read")


def _elements(value: Any, where: str, depth: int) -> int:
    """Elements of the tensors in one example input, counting empty tensors as one."""
    if depth > _MOST_DEPTH:
        raise ValueError(f"{where} is nested more than {_MOST_DEPTH} deep")
    if not isinstance(value, dict) or len(value) != 1:
        raise ValueError(f"{where} is {shown(value)}, expected one of tensor, list, dict and value")
    ((kind, inner),) = value.items()
    if kind == "tensor":
        return _tensor_elements(inner, where)
    if kind == "list":
        return sum(_elements(item, where, depth + 1) for item in items(inner, where))
    if kind == "dict" and isinstance(inner, dict):
        return sum(_elements(item, where, depth + 1) for item in inner.values())
    plain = inner is None or isinstance(inner, (bool, int, float, str))
    if kind != "value" or not plain:
        raise ValueError(f"{where} is {shown(value)}, expected one of tensor, list, dict and value")
    return 0


def _tensor_elements(spec: Any, where: str) -> int:
    name = text(entry(spec, "dtype", where), f"{where}.dtype")
    if name not in DTYPES:
        raise ValueError(f"{where}.dtype is {shown(name)}, expected one of {', '.join(DTYPES)}")
    dtype = DTYPES[name]
    shape = _shape(entry(spec, "shape", where), f"{where}.shape")
    if dtype.is_floating_point == ("values" in spec):
        raise ValueError(f"{where} must have values if, and only if, it is of an integer type")
    if not dtype.is_floating_point:
        values = items(spec["values"], f"{where}.values", count=math.prod(shape))
        for value in values:
            if dtype is torch.bool:
                truth(value, f"{where}.values")
            else:
                limits = torch.iinfo(dtype)
                whole(value, f"{where}.values", least=limits.min, most=limits.max)
    return math.prod(max(1, size) for size in shape)
