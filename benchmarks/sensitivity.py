"""How long a sensitivity pass takes, in forward passes, and how much memory.

Run from the root of the repository; two threads, about half an hour on a quiet machine:

    python benchmarks/sensitivity.py --out benchmarks/results/sensitivity.csv

or in parts, `--only NAME ...` with `--append` for all but the first; with `--layers WEIGHT ...`
only those rows of a table are measured again.

Each consumer is timed by itself: one forward pass of the layer and one pass of the layer with
everything that its sensitivities need, block by block in turns, over all blocks but those in which
Numba compiles. The sensitivity pass includes the forward pass. Whole networks are timed over
`--samples` samples; "peak_mb" is how much more memory the process held at most than after a
forward pass of one block, beside the cap for the pass's own tensors (Linux only; of the first
network that is run, since a process keeps memory). Weights are random, as after training for the
networks of torchvision; "resnet50 at 224, statistics of its inputs" is the same network with its
batch-norm statistics estimated anew on random inputs, so that its activations are normalised as in
a trained one. `sensitivity_public.py` has single layers beside the code published with the paper.
"""

from __future__ import annotations

import argparse
import csv
import functools
import importlib
import math
import time
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import prunella
from _vision import build, write_machine
from prunella.retrain import reestimate_batchnorm
from prunella.sensitivity import collect, compiled, kernels

BLOCK = collect.MICRO_BATCH
LAYERS = (
    (16, 16, 3, 32), (64, 64, 3, 8), (128, 128, 3, 16), (256, 64, 1, 56), (64, 64, 3, 56),
    (512, 512, 3, 7),
)  # fmt: skip
LARGE = ("resnet50", "vgg16_bn")
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
    if args.layers:
        read = [group for group in graph.groups if read_by(group, args.layers)]
        graph = replace(graph, groups=tuple(read))
    times = ByLayer(args.clock)
    with times.watching():
        prunella.sensitivities(model, graph, batches, memory=args.memory)
    chosen = args.layers or times.forward
    wanted = [key for key in times.forward if key in chosen]
    wanted = [key for key in wanted if not name.startswith("conv ") or key == "3.weight"]
    return [
        {
            "network": name,
            "layer": key,
            "forward_ms": f"{1e3 * times.forward[key] / len(batches):.3f}",
            "pass_ms": f"{1e3 * (times.forward[key] + times.extra[key]) / len(batches):.3f}",
            "ratio": f"{1 + times.extra[key] / times.forward[key]:.2f}",
            "peak_mb": "",
            "cap_mb": "",
        }
        for key in wanted
    ]


def read_by(group: prunella.ChannelGroup, layers: Sequence[str]) -> bool:
    """Whether one of some layers reads a group's units."""
    return any(member.role == "consumer" and member.tensor in layers for member in group.members)


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

    with torch.no_grad():
        model(torch.randn(BLOCK, *example.shape[1:]))
    before = resident("VmRSS", forget=True)
    start = args.clock()
    prunella.sensitivities(model, graph, batches(), memory=args.memory)
    whole = args.clock() - start - spent[0]
    peak = resident("VmHWM") - before
    return {
        "network": name,
        "layer": f"all, {args.samples} samples",
        "forward_ms": f"{1e3 * spent[0]:.0f}",
        "pass_ms": f"{1e3 * whole:.0f}",
        "ratio": f"{whole / spent[0]:.2f}",
        "peak_mb": f"{peak / 2**20:.0f}" if before else "",
        "cap_mb": f"{args.memory / 2**20:.0f}",
    }


def resident(field: str, *, forget: bool = False) -> int:
    """Bytes of memory that this process holds, or held at most, or 0 if the system does not say."""
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    if forget:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # earlier peaks
    lines = status.read_text(encoding="utf-8").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(field))


def networks() -> dict[str, Callable[[], tuple[nn.Module, Tensor]]]:
    """What is timed, and how each is made."""
    made: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {
        f"conv {kernel}x{kernel} {channels}-{outputs} at {side}": functools.partial(
            single, channels, outputs, kernel, side
        )
        for channels, outputs, kernel, side in LAYERS
    }
    made["attention, 12 heads of 64, 197 tokens"] = attention
    made["ResNet-20 at 28"] = lambda: (
        prunella.networks.resnet20(in_channels=1), torch.randn(1, 1, 28, 28)
    )  # fmt: skip
    made["ResNet-56 at 32"] = lambda: (prunella.networks.resnet56(), torch.randn(1, 3, 32, 32))
    for name in LARGE:
        made[f"{name} at 224"] = functools.partial(build, "torchvision", name)
    made["resnet50 at 224, statistics of its inputs"] = functools.partial(normalised, "resnet50")
    return made


def attention() -> tuple[nn.Module, Tensor]:
    """A block of a vision transformer of the base size; its heads are units of 64 inputs each."""
    block = importlib.import_module("timm.models.vision_transformer").Block(768, 12)
    return nn.Sequential(block), torch.randn(1, 197, 768)


def normalised(name: str) -> tuple[nn.Module, Tensor]:
    """A network of torchvision whose batch-norm statistics are those of random inputs."""
    model, example = build("torchvision", name)
    torch.manual_seed(2)
    batches = [torch.randn(BLOCK, *example.shape[1:]) for _ in range(2)]
    reestimate_batchnorm(model, batches)
    return model, example


def warm_up() -> None:
    """Let Numba compile, or load what it compiled before."""
    if compiled.available():
        kernels.COMPILE_FROM = 0
        model, example = single(8, 8, 3, 8)
        prunella.sensitivities(model, prunella.trace(model, example), [example])


def read(path: Path) -> list[Row]:
    """The rows of an earlier part."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def ratios(rows: list[Row]) -> list[float]:
    """Those of single layers."""
    return [float(str(row["ratio"])) for row in rows if not str(row["layer"]).startswith("all")]


def mean(values: list[float]) -> float:
    """Geometric mean."""
    return math.exp(sum(map(math.log, values)) / len(values))


def write(rows: list[Row], args: argparse.Namespace) -> None:
    """The table and its description so far."""
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
        geometric_mean=round(mean(ratios(rows)), 2),
        worst=max(ratios(rows)),
    )


def _is(row: Row, name: str, layers: Container[object]) -> bool:
    return row["network"] == name and row["layer"] in layers


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory", type=int, default=1 << 30)
    parser.add_argument("--quick", action="store_true", help="leave out the large networks")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=networks(), help="only these")
    parser.add_argument("--layers", nargs="+", metavar="WEIGHT", help="with --only: these rows")
    parser.add_argument("--append", action="store_true", help="keep the other rows of the table")
    parser.add_argument("--processor-time", action="store_true", help="for a busy machine")
    args = parser.parse_args()
    args.clock = time.process_time if args.processor_time else time.perf_counter
    return args


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    warm_up()
    quick = [name for name in networks() if not name.startswith(LARGE)]
    names = args.only or (quick if args.quick else list(networks()))
    rows = read(args.out) if args.append and args.out.exists() else []
    if not args.layers:
        rows = [row for row in rows if row["network"] not in names]
    for name in names:
        torch.manual_seed(0)
        model, example = networks()[name]()
        model.eval()
        if args.layers:
            found = {row["layer"]: row for row in layer_rows(name, model, example, args)}
            print(name, *found.values(), flush=True)
            rows = [found[row["layer"]] if _is(row, name, found) else row for row in rows]
            write(rows, args)
            continue
        # First, before anything has taken memory that the process keeps.
        whole = [] if name.startswith("conv ") else [network_row(name, model, example, args)]
        found = layer_rows(name, model, example, args)
        rows += [*found, *whole]
        each = ratios(found)
        summary = f"mean {mean(each):.2f}, worst {max(each):.2f}"
        print(f"{name}: {len(each)} layers, {summary}", *whole, flush=True)
        write(rows, args)


if __name__ == "__main__":
    main()
