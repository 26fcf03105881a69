"""Trace, prune and check networks of torchvision and timm as they come; writes a table.

Each network runs in a process of its own with limits on time and memory, so that none can stop the
rest. Rows are added to the table one by one; a network that is in it already is left out.
Run from the root of the repository; without `--all` a few networks of each family, two minutes:

    python benchmarks/architectures.py --all --out docs/architectures.csv
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import resource
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import _vision
import prunella
from prunella.core.errors import BudgetError, GraphError, SurgeryError
from prunella.core.inputs import tensors_in
from prunella.tracing import without_groups

KEEP = {"torchvision": 0.5, "timm": 0.7, "detection": 0.5}
TIME_LIMIT_S = 600
MEMORY_LIMIT = 20 * 2**30  # bytes
COLUMNS = (
    "family", "model", "status", "params_before", "params_after", "params_kept", "macs_before",
    "macs_after", "groups_prunable", "groups_frozen", "groups_of_heads", "outputs", "difference",
    "trace_s", "plan_s", "apply_s", "frozen_because",
)  # fmt: skip
Row = dict[str, object]
Work = Callable[[str, str], Row]


def examine(family: str, name: str) -> Row:
    """One row: build, trace, plan, cut with the check, then forward and backward."""
    torch.set_num_threads(1)
    model, example = _vision.build(family, name)
    start = time.perf_counter()
    graph = prunella.trace(model, example)
    row: Row = {
        "trace_s": f"{time.perf_counter() - start:.3f}",
        "params_before": sum(p.numel() for p in model.parameters()),
        "macs_before": graph.macs,
    }
    while True:
        row |= _described(graph)
        start = time.perf_counter()
        try:
            plan = prunella.plan(graph, None, prunella.Params(KEEP[family]), method="random")
        except (BudgetError, GraphError) as error:
            return row | {"status": f"left whole: {error}"}
        row["plan_s"] = f"{time.perf_counter() - start:.3f}"
        start = time.perf_counter()
        try:
            small, difference = plan.apply_verified(model)
        except SurgeryError as error:
            if not error.group:
                raise
            graph = without_groups(graph, {error.group: f"{error}"})  # as `prunella.prune` does
            continue
        row["apply_s"] = f"{time.perf_counter() - start:.3f}"
        break
    after = sum(p.numel() for p in small.parameters())
    if after != plan.achieved.params:
        raise AssertionError(f"planned {plan.achieved.params} parameters, got {after}")
    return row | {
        "status": "pruned",
        "params_after": after,
        "params_kept": f"{after / plan.original.params:.3f}",
        "macs_after": plan.achieved.macs,
        "difference": f"{difference:.1e}",
        "outputs": _forward_and_backward(model, small, example),
    }


def _forward_and_backward(model: nn.Module, small: nn.Module, example: Tensor) -> str:
    """Shapes of the outputs, the same as before; every parameter in use gets a gradient."""
    with torch.no_grad():
        expected = [tuple(tensor.shape) for tensor in tensors_in(model(example))]
    outputs = list(tensors_in(small(example)))
    found = [tuple(tensor.shape) for tensor in outputs]
    if len(expected) == 1 and found != expected:  # detectors find any number of objects
        raise AssertionError(f"outputs of shapes {found}, expected {expected}")
    real = [tensor for tensor in outputs if tensor.requires_grad]
    if real:
        sum(tensor.float().sum() for tensor in real).backward()
        grads = [p.grad for p in small.parameters() if p.grad is not None]
        if not grads or any(not bool(grad.isfinite().all()) for grad in grads):
            raise AssertionError("no finite gradients")
    return " ".join("x".join(map(str, shape)) for shape in found[:3])


def _described(graph: prunella.ChannelGraph) -> Row:
    return {
        "groups_prunable": len(graph.prunable),
        "groups_frozen": len(graph.groups) - len(graph.prunable),
        "groups_of_heads": sum(bool(group.heads) for group in graph.prunable),
        "frozen_because": _reasons(graph),
    }


def _reasons(graph: prunella.ChannelGraph) -> str:
    """The first three different reasons, without what tells one place from another."""
    reasons: dict[str, None] = {}
    for group in graph.groups:
        if not group.prunable:
            reasons.setdefault(group.reason)
    return " | ".join(list(reasons)[:3])


# -- one process for each ------------------------------------------------------------------------


def _in_child(work: Work, family: str, name: str, results: Any) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    try:
        results.send(work(family, name))
    except BaseException as error:
        lines = traceback.format_exc().strip().splitlines()
        words = " ".join(str(error).split()) or type(error).__name__
        results.send({"status": f"broken: {type(error).__name__}: {words} ({lines[-3].strip()})"})


def in_own_process(work: Work, family: str, name: str, *, limit_s: float) -> Row:
    """The row of one network; what goes wrong is its status."""
    context = multiprocessing.get_context("fork")  # what is imported is shared
    receive, send = context.Pipe(duplex=False)
    child = context.Process(target=_in_child, args=(work, family, name, send))
    child.start()
    send.close()
    try:
        if not receive.poll(limit_s):
            return {"status": f"broken: no result within {limit_s:g} s"}
        row: Row = receive.recv()
        return row
    except EOFError:
        child.join()
        return {"status": f"broken: the process ended with {child.exitcode}"}
    finally:
        child.kill()
        child.join()


def prepare() -> None:
    """What the processes to come would each do again: importing, above all."""
    torch.set_num_threads(1)  # threads do not survive a fork
    layers = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1))
    example = torch.randn(1, 3, 4, 4)
    graph = prunella.trace(layers, example)
    prunella.plan(graph, None, prunella.Params(0.5), method="random").apply(layers)


def done(table: Path) -> set[tuple[str, str]]:
    """Family and name of the networks in a table."""
    if not table.exists():
        return set()
    with table.open(encoding="utf-8", newline="") as file:
        return {(row.get("family", ""), row["model"]) for row in csv.DictReader(file)}


def add(table: Path, row: Row, columns: Sequence[str]) -> None:
    """Append a row, and the names of the columns before the first."""
    new = not table.exists()
    with table.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=columns, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/architectures.csv"))
    parser.add_argument("--family", choices=(*KEEP, "every"), default="every")
    parser.add_argument("--all", action="store_true", help="all networks, for about an hour")
    parser.add_argument("--models", default="", help="only these names, separated by commas")
    arguments = parser.parse_args()
    prepare()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    known = done(arguments.out)
    wanted = [name for name in arguments.models.split(",") if name]
    for family in KEEP if arguments.family == "every" else (arguments.family,):
        listed = _vision.names(family) if arguments.all else _vision.QUICK[family]
        for name in wanted or listed:
            if (family, name) in known:
                continue
            row = {"family": family, "model": name} | in_own_process(
                examine, family, name, limit_s=TIME_LIMIT_S
            )
            add(arguments.out, row, COLUMNS)
            print(f"{name}: {str(row['status'])[:150]}", flush=True)
    _vision.write_machine(arguments.out)


if __name__ == "__main__":
    main()
