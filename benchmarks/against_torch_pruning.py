"""Time of making a network small, side by side with torch-pruning; writes a table.

Both remove channels at random from torchvision's classifiers until about half of the parameters
are left, in one process, one thread, by turns; the middle of three times counts. Building the
network is outside of the timed part. Times are seconds of the processor, so that other work on the
machine does not count. prunella's time includes its check against the masked
original, which torch-pruning does not have. Needs torch-pruning, which prunella does not:

    pip install 'prunella[bench]'
    python benchmarks/against_torch_pruning.py --all --out docs/against-torch-pruning.csv

Without `--all` a few networks, a minute.
"""

from __future__ import annotations

import argparse
import copy
import csv
import gc
import importlib.util
import math
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

import _vision
import prunella
from architectures import add, done, in_own_process, prepare

KEEP = 0.5
RATIO = 1 - math.sqrt(KEEP)  # of the channels of each layer, for half of the parameters
REPEATS = 3
TIME_LIMIT_S = 150  # for both; a network for which it does not do is run by prunella alone
COLUMNS = (
    "model", "prunella_s", "torch_pruning_s", "ratio", "prunella_kept", "torch_pruning_kept",
    "prunella_status", "torch_pruning_status", "status",
)  # fmt: skip
Row = dict[str, object]


def by_prunella(model: nn.Module, example: Tensor) -> nn.Module:
    """Trace, plan and apply, with the check."""
    graph = prunella.trace(model, example)
    plan = prunella.plan(graph, None, prunella.Params(KEEP), method="random")
    return plan.apply(model)


def by_torch_pruning(model: nn.Module, example: Tensor) -> nn.Module:
    """The graph of dependencies and one step; the last layer is excluded, as its guide says."""
    import torch_pruning

    last = [m for m in model.modules() if isinstance(m, nn.Linear) and m.out_features == 1000]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pruner = torch_pruning.pruner.BasePruner(
            model,
            example,
            importance=torch_pruning.importance.RandomImportance(),
            pruning_ratio=RATIO,
            ignored_layers=last,
        )
        pruner.step()
    return model


Make = Callable[[nn.Module, Tensor], nn.Module]
SIDES: dict[str, Make] = {"prunella": by_prunella, "torch_pruning": by_torch_pruning}


def timed(make: Make, model: nn.Module, example: Tensor) -> tuple[float, nn.Module]:
    """Seconds, and the small network. The model is a copy: torch-pruning changes it in place."""
    own = copy.deepcopy(model)
    gc.collect()
    start = time.process_time()
    small = make(own, example)
    return time.process_time() - start, small


def compare(sides: str, name: str) -> Row:
    """One row, by the named sides; whatever goes wrong on either is its status."""
    return _compare({side: SIDES[side] for side in sides.split()}, name)


def _compare(sides: dict[str, Make], name: str) -> Row:
    torch.set_num_threads(1)
    model, example = _vision.build("torchvision", name)
    whole = sum(p.numel() for p in model.parameters())
    row: Row = {f"{side}_status": "" for side in sides}
    times: dict[str, list[float]] = {side: [] for side in sides}
    for _repeat in range(REPEATS):
        for side, make in sides.items():
            if row[f"{side}_status"]:
                continue
            try:
                seconds, small = timed(make, model, example)
                with torch.no_grad():
                    small(example)
            except Exception as error:
                row[f"{side}_status"] = f"{type(error).__name__}: {' '.join(str(error).split())}"
                continue
            times[side].append(seconds)
            row[f"{side}_kept"] = f"{sum(p.numel() for p in small.parameters()) / whole:.3f}"
    for side, found in times.items():
        if not row[f"{side}_status"]:
            row[f"{side}_s"] = f"{statistics.median(found):.3f}"
            row[f"{side}_status"] = "ok"
    if "prunella_s" in row and "torch_pruning_s" in row:
        middle = {side: statistics.median(found) for side, found in times.items()}
        row["ratio"] = f"{middle['prunella'] / middle['torch_pruning']:.3f}"
    return row


def summary(table: Path) -> str:
    """Geometric mean of the ratios where both worked."""
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    ratios = [float(row["ratio"]) for row in rows if row["ratio"]]
    if not ratios:
        return "no network was made small by both"
    mean = math.exp(statistics.fmean(math.log(ratio) for ratio in ratios))
    return f"{len(ratios)} of {len(rows)} by both; geometric mean of the ratios {mean:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/against-torch-pruning.csv"))
    parser.add_argument("--all", action="store_true", help="all classifiers, for about an hour")
    parser.add_argument("--models", default="", help="only these names, separated by commas")
    arguments = parser.parse_args()
    if importlib.util.find_spec("torch_pruning") is None:
        print("left out: torch-pruning is not installed (see the head of this file)")
        return
    prepare()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    known = {name for _, name in done(arguments.out)}
    wanted = [name for name in arguments.models.split(",") if name]
    listed = _vision.names("torchvision") if arguments.all else _vision.QUICK["torchvision"]
    for name in wanted or listed:
        if name not in known:
            row = in_own_process(compare, " ".join(SIDES), name, limit_s=TIME_LIMIT_S)
            if "prunella_status" not in row:  # stopped: the limit of both together
                alone = in_own_process(compare, "prunella", name, limit_s=TIME_LIMIT_S)
                row = alone | {"torch_pruning_status": row.get("status", "")}
            row = {"model": name} | row
            add(arguments.out, row, COLUMNS)
            print(name, row.get("ratio", row), flush=True)
    print(summary(arguments.out))
    _vision.write_machine(arguments.out, torch_pruning=_vision.installed("torch-pruning"))


if __name__ == "__main__":
    main()
