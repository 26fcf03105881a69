"""The sensitivities of one layer by prunella and by the code published with the paper, in turns.

Needs a checkout of https://github.com/lucaslie/torchprune (MIT licence) for the second side;
without one only prunella is timed. From the root of the repository, a few minutes:

    git clone https://github.com/lucaslie/torchprune ../torchprune
    python benchmarks/sensitivity_public.py --public ../torchprune \
        --out benchmarks/results/sensitivity-public.csv

The layers are those of `sensitivity.py`: random weights, inputs behind a rectifier, the same ones
for both sides. Times are milliseconds of the processor for one sample, on one thread; "ratio" is
the pass over the layer's forward pass, and the pass includes a forward pass. Both are timed in
turns: prunella in blocks of eight samples, the published tracker one sample at a time, which is
how its own package runs it. So each side has a forward pass of its own to be measured by.

"prunella" scores by the definition; "prunella, entry" takes the largest single product in place of
a channel's part, as the published tracker does. "difference" is the largest relative one between
these two, over the same samples. The tracker does the same work for each sample; prunella does less
the more it has seen, so it is timed with few samples and with more. What both do once for a layer
counts for prunella (its weights in order), not for the tracker. Numba has compiled before.

Of torchprune only the modules of the tracker are imported: its packages import all methods and
data sets, with dependencies that have nothing to do with it. Empty packages stand in for them, with
`BaseTracker` and `BaseSensTracker` in their places. NumPy 2 lacks the old name `np.Inf`, which the
tracker uses; it is put back. The tracker runs without gradients, which its package leaves on and
which would only add to its work.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import prunella
from _vision import write_machine
from prunella.sensitivity import collect, compiled
from prunella.sensitivity.shares import Reduction
from sensitivity import LAYERS, ByLayer, single, warm_up

BLOCK = collect.MICRO_BATCH
FEW, MANY = BLOCK, 8 * BLOCK
ROUNDS = 5  # of what is short: passes over few samples, each from the start; forward passes
SIDES: dict[str, Reduction] = {"prunella": "inner", "prunella, entry": "entry"}
AGREE = 1e-4
Row = dict[str, object]


def ours(
    model: nn.Module,
    samples: Tensor,  # (n, 4, side, side)
    reduction: Reduction,
    rounds: int,
) -> tuple[float, float, Tensor]:
    """Seconds of the layer's forward pass and of the pass for each sample; scores (C,)."""
    graph = prunella.trace(model, samples[:1])
    times = ByLayer(time.process_time)
    with times.watching():
        for _ in range(rounds):
            found = prunella.sensitivities(model, graph, [samples], reduction=reduction)
    forward, extra = times.forward["3.weight"], times.extra["3.weight"]
    count = rounds * len(samples)
    return forward / count, (forward + extra) / count, found["0"]


def published(
    tracker_type: Any,
    layer: nn.Module,
    inputs: Tensor,  # (n, C, side, side)
) -> tuple[float, float, Tensor]:
    """The same of the published tracker, one sample after the other."""
    tracker = tracker_type(layer)
    forward = whole = 0.0
    with torch.no_grad():
        layer(inputs[:1])
        for x in inputs.split(1):
            start = time.process_time()
            for _ in range(ROUNDS):
                layer(x)
            between = time.process_time()
            tracker.enable_tracker()
            layer(x)
            tracker.disable_tracker()
            forward += (between - start) / ROUNDS
            whole += time.process_time() - between
    return forward / len(inputs), whole / len(inputs), tracker.sensitivity_in


def tracker_file(checkout: Path) -> Path:
    """Where the tracker is."""
    return checkout / "src" / "torchprune" / "torchprune" / "method" / "pfp" / "pfp_tracker.py"


def tracker_of(checkout: Path) -> Any:
    """The published tracker's class, with nothing imported that it does not use."""
    root = tracker_file(checkout).parents[2]
    for name in ("", ".util", ".method", ".method.base", ".method.base_sens", ".method.pfp"):
        empty = ModuleType(f"torchprune{name}")
        vars(empty)["__path__"] = [str(root.joinpath(*name.split(".")))]
        sys.modules[empty.__name__] = empty
    vars(np).setdefault("Inf", np.inf)
    for package, module, name in (
        ("base", "base_tracker", "BaseTracker"),
        ("base_sens", "base_sens_tracker", "BaseSensTracker"),
    ):
        found = importlib.import_module(f"torchprune.method.{package}.{module}")
        vars(sys.modules[f"torchprune.method.{package}"])[name] = vars(found)[name]
    return importlib.import_module("torchprune.method.pfp.pfp_tracker").PFPTracker


def rows_of(shape: tuple[int, int, int, int], tracker_type: Any) -> Iterator[Row]:
    """One layer by all sides."""
    channels, outputs, kernel, side = shape
    model: Any = single(*shape)[0]
    samples = torch.randn(MANY, 4, side, side, generator=torch.Generator().manual_seed(1))
    name = f"conv {kernel}x{kernel} {channels}-{outputs} at {side}"

    def row(by: str, count: int, forward: float, whole: float, difference: str = "") -> Row:
        return {
            "layer": name,
            "by": by,
            "samples": count,
            "forward_ms": f"{1e3 * forward:.4f}",
            "pass_ms": f"{1e3 * whole:.4f}",
            "ratio": f"{whole / forward:.2f}",
            "difference": difference,
        }

    scored = {}
    for by, reduction in SIDES.items():
        for count, rounds in ((FEW, ROUNDS), (MANY, 1)):
            forward, whole, scored[by, count] = ours(model, samples[:count], reduction, rounds)
            yield row(by, count, forward, whole)
    if tracker_type is not None:
        with torch.no_grad():
            inputs = model[:3](samples[:FEW])
        forward, whole, scores = published(tracker_type, model[3], inputs)
        expected = scored["prunella, entry", FEW]
        difference = float(((scores - expected).abs() / expected).max())
        yield row("torchprune", FEW, forward, whole, f"{difference:.1e}")


def summary(rows: list[Row]) -> str:
    """Geometric means of the ratios."""
    lines = []
    for by, count in dict.fromkeys((row["by"], row["samples"]) for row in rows):
        found = [float(str(r["ratio"])) for r in rows if (r["by"], r["samples"]) == (by, count)]
        mean = math.exp(sum(map(math.log, found)) / len(found))
        lines.append(f"{by}, {count} samples: mean {mean:.1f}, {min(found)} to {max(found)}")
    return "\n".join(lines)


def revision_of(checkout: Path) -> str:
    """The commit that is checked out."""
    job = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    found = subprocess.run(job, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--public", type=Path, help="a checkout of lucaslie/torchprune")
    args = parser.parse_args()
    if args.public is None:
        print("prunella alone, nothing to compare with: --public names no checkout of torchprune")
    elif not tracker_file(args.public).is_file():
        parser.error(
            f"--public: {args.public} holds no {tracker_file(Path())}; expected a checkout of "
            "lucaslie/torchprune."
        )
    tracker_type = tracker_of(args.public) if args.public else None
    torch.set_num_threads(1)
    warm_up()
    rows: list[Row] = []
    for shape in LAYERS:
        for row in rows_of(shape, tracker_type):
            rows.append(row)
            print(*row.values(), flush=True)
    with args.out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    write_machine(
        args.out,
        clock="processor",
        search="compiled" if compiled.available() else "torch",
        torchprune=revision_of(args.public) if args.public else "not given",
    )
    print(summary(rows))
    differ = [row for row in rows if row["difference"] and float(str(row["difference"])) > AGREE]
    if differ:
        sys.exit(f"scores differ by more than {AGREE}: {differ}")


if __name__ == "__main__":
    main()
