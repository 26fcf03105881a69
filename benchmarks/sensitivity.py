"""How long a sensitivity pass takes, in forward passes, and how much memory.

Run from the root of the repository; two threads, about twenty minutes on a quiet machine:

    python benchmarks/sensitivity.py --out benchmarks/results/sensitivity.csv

Each consumer is timed by itself: one forward pass of the layer and one pass of the layer with
everything that its sensitivities need, block by block in turns, over all blocks but those in which
Numba compiles. The sensitivity pass includes the forward pass. Whole networks are timed over
`--samples` samples. Weights are random, as after training for the networks of torchvision.
"""

from __future__ import annotations

import argparse
import csv
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import prunella
from _vision import build, write_machine
from prunella.sensitivity import collect, compiled, kernels

BLOCK = collect.MICRO_BATCH
LAYERS = (
    (16, 16, 3, 32), (64, 64, 3, 8), (128, 128, 3, 16), (256, 64, 1, 56), (64, 64, 3, 56),
    (512, 512, 3, 7),
)  # fmt: skip
Row = dict[str, object]
Watcher: Any = collect._Watcher


class ByLayer:
    """Adds up, for each consumer, the time of its calls with and without sensitivities."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.forward: dict[str, float] = {}
        self.extra: dict[str, float] = {}

    def add(self, to: dict[str, float], name: str, start: float) -> None:
        to[name] = to.get(name, 0.0) + self.clock() - start

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Time every call of a consumer inside of here."""
        answer, score, search = Watcher.answer, Watcher._score, Watcher._search
        timer = self

        def timed_answer(self: Any, func: Any, args: Any, kwargs: Any) -> Any:
            call = collect.contraction_of(func, args, self.stored)
            if call is None or (call.name, call.in_axis) not in self.consumers:
                return answer(self, func, args, kwargs)
            start = timer.clock()
            func(*args, **kwargs)  # once more, for its time alone
            timer.add(timer.forward, call.name, start)
            return answer(self, func, args, kwargs)

        def timed_score(self: Any, call: Any, result: Any) -> None:
            inside = sum(timer.extra.values())
            start = timer.clock()
            score(self, call, result)
            # What it searched is counted under its own name.
            start += sum(timer.extra.values()) - inside
            timer.add(timer.extra, call.name, start)

        def timed_search(self: Any, seen: Any) -> None:
            start = timer.clock()
            search(self, seen)
            timer.add(timer.extra, seen.call.name, start)

        Watcher.answer, Watcher._score, Watcher._search = timed_answer, timed_score, timed_search
        try:
            yield
        finally:
            Watcher.answer, Watcher._score, Watcher._search = answer, score, search


def single(channels: int, outputs: int, kernel: int, side: int) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(4, channels, 1),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Conv2d(channels, outputs, kernel, padding=kernel // 2),
        nn.ReLU(),
        nn.Conv2d(outputs, 1, 1),
    )
    return model.eval(), torch.randn(1, 4, side, side)


def layer_rows(name: str, model: nn.Module, example: Tensor, args: argparse.Namespace) -> list[Row]:
    torch.manual_seed(1)
    batches = [torch.randn(BLOCK, *example.shape[1:]) for _ in range(args.samples // BLOCK)]
    graph = prunella.trace(model, example)
    times = ByLayer(args.clock)
    with times.watching():
        prunella.sensitivities(model, graph, batches, memory=args.memory)
    wanted = [key for key in times.forward if not name.startswith("conv ") or key == "3.weight"]
    return [
        {
            "network": name,
            "layer": key,
            "forward_ms": f"{1e3 * times.forward[key] / len(batches):.3f}",
            "pass_ms": f"{1e3 * (times.forward[key] + times.extra[key]) / len(batches):.3f}",
            "ratio": f"{1 + times.extra[key] / times.forward[key]:.2f}",
        }
        for key in wanted
    ]


def network_row(name: str, model: nn.Module, example: Tensor, args: argparse.Namespace) -> Row:
    """One forward pass and one sensitivity pass over all samples, in turns of one block."""
    torch.manual_seed(1)
    graph = prunella.trace(model, example)
    spent = [0.0]

    def batches() -> Iterator[Tensor]:
        with torch.no_grad():
            for _ in range(args.samples // BLOCK):
                x = torch.randn(BLOCK, *example.shape[1:])
                start = args.clock()
                model(x)
                spent[0] += args.clock() - start
                yield x

    start = args.clock()
    prunella.sensitivities(model, graph, batches(), memory=args.memory)
    whole = args.clock() - start - spent[0]
    return {
        "network": name,
        "layer": f"all, {args.samples} samples",
        "forward_ms": f"{1e3 * spent[0]:.0f}",
        "pass_ms": f"{1e3 * whole:.0f}",
        "ratio": f"{whole / spent[0]:.2f}",
    }


def networks(quick: bool) -> Iterator[tuple[str, nn.Module, Tensor]]:
    for channels, outputs, kernel, side in LAYERS:
        shape = f"conv {kernel}x{kernel} {channels}-{outputs} at {side}"
        yield shape, *single(channels, outputs, kernel, side)
    torch.manual_seed(0)
    yield "ResNet-20 at 28", prunella.networks.resnet20(in_channels=1), torch.randn(1, 1, 28, 28)
    yield "ResNet-56 at 32", prunella.networks.resnet56(), torch.randn(1, 3, 32, 32)
    if not quick:
        yield "resnet50 at 224", *build("torchvision", "resnet50")
        yield "vgg16_bn at 224", *build("torchvision", "vgg16_bn")


def warm_up() -> None:
    """Let Numba compile, or load what it compiled before."""
    if compiled.available():
        kernels.COMPILE_FROM = 0
        model, example = single(8, 8, 3, 8)
        few, kernels.MANY = kernels.MANY, 0
        prunella.sensitivities(model, prunella.trace(model, example), [example])
        kernels.MANY = few


def write(rows: list[Row], args: argparse.Namespace) -> None:
    """The table and its description so far."""
    by_layer = [float(str(row["ratio"])) for row in rows if not str(row["layer"]).startswith("all")]
    mean = math.exp(sum(map(math.log, by_layer)) / len(by_layer))
    with args.out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    write_machine(
        args.out,
        samples=args.samples,
        memory=args.memory,
        clock="processor" if args.processor_time else "wall",
        search="compiled" if compiled.available() else "torch",
        geometric_mean=round(mean, 2),
        worst=max(by_layer),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory", type=int, default=1 << 30)
    parser.add_argument("--quick", action="store_true", help="leave out the large networks")
    parser.add_argument("--processor-time", action="store_true", help="for a busy machine")
    args = parser.parse_args()
    args.clock = time.process_time if args.processor_time else time.perf_counter
    torch.set_num_threads(args.threads)
    warm_up()
    rows: list[Row] = []
    for name, model, example in networks(args.quick):
        found = layer_rows(name, model.eval(), example, args)
        rows += found
        ratios = [float(str(row["ratio"])) for row in found]
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        print(f"{name}: {len(found)} layers, mean {mean:.2f}, worst {max(ratios):.2f}", flush=True)
        if not name.startswith("conv "):
            rows.append(network_row(name, model, example, args))
            print(f"  {rows[-1]}", flush=True)
        write(rows, args)


if __name__ == "__main__":
    main()
