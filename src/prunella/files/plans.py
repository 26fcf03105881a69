"""A plan as JSON text."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from prunella.core.budgets import Budget, Bytes, Flops, Latency, Params
from prunella.core.errors import FileError, PrunellaError
from prunella.core.inputs import Inputs
from prunella.core.jsontext import NewerVersionError, Upgrade, read_json, upgraded
from prunella.core.results import RunTimes
from prunella.core.samples import SampleIds
from prunella.core.types import ChannelGraph, ChannelGroup, Member, StoredTensor, Width
from prunella.core.words import one_line
from prunella.files.fields import entry, items, number, whole
from prunella.files.plan_checks import DTYPES, check_disjoint, check_plan
from prunella.plans import Plan

SCHEMA_VERSION = 3


def _with_constraints(data: dict[str, Any]) -> dict[str, Any]:
    """Version 2 knows keyword inputs, and what a cut of a group has to keep equal."""
    graph = data["graph"]
    groups = [
        {**group, "balance": "", "heads": [], "product_macs": 0, "exact": True}
        for group in graph["groups"]
    ]
    # Version 1 had the multiply-adds of one element.
    tensors = [
        [name, shape, size, parameter, whole(uses, "uses") * math.prod(_lengths(shape))]
        for name, shape, size, parameter, uses in graph["tensors"]
    ]
    return {**data, "graph": {**graph, "keywords": {}, "groups": groups, "tensors": tensors}}


def _with_numbers(data: dict[str, Any]) -> dict[str, Any]:
    """Version 3 knows numbers of modules that follow a cut, factors of weights, and run times."""
    groups = [{**group, "widths": []} for group in data["graph"]["groups"]]
    graph = {**data["graph"], "groups": groups}
    return {**data, "graph": graph, "scales": {}, "latency": None}


def _lengths(shape: Any) -> list[int]:
    return [whole(length, "a shape") for length in items(shape, "a shape")]


# Makes a plan of version v + 1 out of one of version v, both as plain data. When the schema
# changes, the old version gets an entry here, and tests/golden keeps a file of it.
_UPGRADES: Mapping[int, Upgrade] = {1: _with_constraints, 2: _with_numbers}
_BUDGETS: Mapping[str, type[Budget | Latency]] = {
    kind.__name__: kind for kind in (Params, Flops, Bytes, Latency)
}


def plan_to_json(plan: Plan) -> str:
    """The plan with its graph; `plan_from_json` is the inverse."""
    requested = plan.requested
    data = {
        "schema_version": SCHEMA_VERSION,
        "method": plan.method,
        "seed": plan.seed,
        "requested": None
        if requested is None
        else {"kind": type(requested).__name__, **asdict(requested)},
        "kept": {name: units.tolist() for name, units in plan.kept.items()},
        "scales": {name: values.tolist() for name, values in plan.scales.items()},
        "latency": None if plan.latency is None else asdict(plan.latency),
        "samples": plan.samples.to_json(),
        "graph": _graph_to_data(plan.graph),
    }
    return json.dumps(data, separators=(",", ":"))


def plan_from_json(text: str, *, source: str) -> Plan:
    """Read a plan of any known schema version; all checks of `Plan.from_kept` are made again.

    Raises:
        FileError: the text is damaged or of an unknown version.
    """
    try:
        data = upgraded(read_json(text), newest=SCHEMA_VERSION, steps=_UPGRADES, what="the plan")
        check_plan(data)
        graph = _graph_from_data(data["graph"])
        check_disjoint(graph)
        requested = data["requested"]
        return Plan.from_kept(
            graph,
            data["kept"],
            requested=requested and _budget_from_data(requested),
            method=data["method"],
            seed=data["seed"],
            samples=SampleIds.from_json(data["samples"]),
            scales=data["scales"],
            latency=data["latency"] and _run_times(data["latency"]),
        )
    except NewerVersionError as error:
        raise FileError(f"{source}: {error}") from None
    except (
        PrunellaError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError,
        RuntimeError,
    ) as error:  # fmt: skip
        raise FileError(
            f"{source}: the plan in it is damaged ({one_line(error)}). Write or copy it again."
        ) from None


def _budget_from_data(data: dict[str, Any]) -> Budget | Latency:
    numbers = {name: value for name, value in data.items() if name != "kind"}
    return _BUDGETS[data["kind"]](**numbers)


def _run_times(data: Any) -> RunTimes:
    def spread(name: str) -> tuple[float, float, float]:
        first, middle, third = items(entry(data, name, "latency"), f"latency.{name}", count=3)
        return number(first, name), number(middle, name), number(third, name)

    return RunTimes(
        batch=whole(entry(data, "batch", "latency"), "latency.batch", least=1),
        runs=whole(entry(data, "runs", "latency"), "latency.runs", least=1),
        before=spread("before"),
        after=spread("after"),
        speedup=number(entry(data, "speedup", "latency"), "latency.speedup"),
    )


def _graph_to_data(graph: ChannelGraph) -> dict[str, Any]:
    return {
        "model_type": graph.model_type,
        "other_macs": graph.other_macs,
        "inputs": [_input_to_data(value) for value in graph.inputs.args],
        "keywords": {key: _input_to_data(value) for key, value in graph.inputs.kwargs.items()},
        "tensors": [
            [t.name, list(t.shape), t.itemsize, t.is_parameter, t.macs] for t in graph.tensors
        ],
        "groups": [
            {
                "name": group.name,
                "size": group.size,
                "reason": group.reason,
                "balance": group.balance,
                "heads": list(group.heads),
                "product_macs": group.product_macs,
                "exact": group.exact,
                "widths": [[w.attribute, w.place, w.step] for w in group.widths],
                "members": [
                    [m.tensor, m.axis, m.role, _indices_to_data(m.indices)] for m in group.members
                ],
            }
            for group in graph.groups
        ],
    }


def _graph_from_data(data: dict[str, Any]) -> ChannelGraph:
    tensors = tuple(
        StoredTensor(
            name=name, shape=tuple(shape), itemsize=size, is_parameter=parameter, macs=macs
        )
        for name, shape, size, parameter, macs in data["tensors"]
    )
    return ChannelGraph(
        model_type=data["model_type"],
        other_macs=data["other_macs"],
        inputs=Inputs(
            args=tuple(_input_from_data(value) for value in data["inputs"]),
            kwargs={key: _input_from_data(value) for key, value in data["keywords"].items()},
        ),
        tensors=tensors,
        groups=tuple(
            ChannelGroup(
                name=group["name"],
                size=group["size"],
                prunable=not group["reason"],
                reason=group["reason"],
                balance=group["balance"],
                heads=tuple(group["heads"]),
                product_macs=group["product_macs"],
                exact=group["exact"],
                widths=tuple(
                    Width(attribute=attribute, place=place, step=step)
                    for attribute, place, step in group["widths"]
                ),
                members=tuple(
                    Member(tensor=tensor, axis=axis, indices=_indices_from_data(stored), role=role)
                    for tensor, axis, role, stored in group["members"]
                ),
            )
            for group in data["groups"]
        ),
    )


def _indices_to_data(indices: Tensor) -> Any:
    """[first, step from unit to unit, step within a unit, units, positions] where that is exact."""
    units, width = indices.shape
    first = int(indices[0, 0])
    across = int(indices[1, 0]) - first if units > 1 else 1
    within = int(indices[0, 1]) - first if width > 1 else 1
    pattern = [first, across, within, units, width]
    return pattern if torch.equal(_progression(pattern), indices) else indices.tolist()


def _indices_from_data(data: list[Any]) -> Tensor:
    return torch.tensor(data) if isinstance(data[0], list) else _progression(data)


def _progression(pattern: list[int]) -> Tensor:
    first, across, within, units, width = pattern
    return first + across * torch.arange(units)[:, None] + within * torch.arange(width)


def _input_to_data(value: Any) -> Any:
    """Shapes and types of the example inputs; of integers, which may be token numbers, values."""
    if isinstance(value, Tensor):
        dtype = str(value.dtype).removeprefix("torch.")
        if dtype not in DTYPES:
            raise FileError(
                f"example inputs hold a tensor of {dtype}, which cannot be written to a file; "
                f"trace the model with one of {', '.join(DTYPES)}."
            )
        data: dict[str, Any] = {"shape": list(value.shape), "dtype": dtype}
        if not value.dtype.is_floating_point:
            data["values"] = value.reshape(-1).tolist()
        return {"tensor": data}
    if isinstance(value, (list, tuple)):
        return {"list": [_input_to_data(item) for item in value]}
    if isinstance(value, dict):
        return {"dict": {str(key): _input_to_data(item) for key, item in value.items()}}
    if value is None or isinstance(value, (bool, int, float, str)):
        return {"value": value}
    raise FileError(
        f"example inputs hold a {type(value).__name__}, which cannot be written to a file; "
        "trace the model with tensors, numbers, text, lists and dictionaries."
    )


def _input_from_data(data: dict[str, Any]) -> Any:
    if "tensor" in data:
        spec = data["tensor"]
        dtype = DTYPES[spec["dtype"]]
        if "values" in spec:
            return torch.tensor(spec["values"], dtype=dtype).reshape(spec["shape"])
        return torch.zeros((), dtype=dtype).expand(spec["shape"])  # takes no memory
    if "list" in data:
        return [_input_from_data(item) for item in data["list"]]
    if "dict" in data:
        return {key: _input_from_data(item) for key, item in data["dict"].items()}
    return data["value"]
