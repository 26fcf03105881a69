"""Budgets of run time: asked, promised while planning, and measured afterwards; writes a table.

Each network is planned for a share of its run time, cut, and timed once more beside the original,
longer and apart from the search. For comparison the run times of the convolutions and linear
layers alone are added up for both networks: what a table of layers would have promised. Two
threads, a quiet machine.

    python benchmarks/latency_budget.py --out benchmarks/results/latency-budget.csv
"""

from __future__ import annotations

import argparse
import csv
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

import prunella
from _vision import torchvision

SHARES = (0.8, 0.6, 0.4)
MULTIPLE = 16
RUNS = 200
COLUMNS = (
    "network", "batch", "asked", "while_planning", "measured", "sum_of_layers", "macs_kept",
    "params_kept", "ms_before", "ms_after", "seconds_to_plan", "threads", "torch", "note",
)  # fmt: skip


@contextmanager
def layer_times(model: nn.Module) -> Iterator[dict[str, float]]:
    """Seconds spent in convolutions and linear layers, by name, while the model is run."""
    spent: dict[str, float] = defaultdict(float)
    begun: dict[str, float] = {}
    hooks = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):

            def before(_: nn.Module, __: object, name: str = name) -> None:
                begun[name] = time.perf_counter()

            def after(_: nn.Module, __: object, ___: object, name: str = name) -> None:
                spent[name] += time.perf_counter() - begun[name]

            hooks += [module.register_forward_pre_hook(before), module.register_forward_hook(after)]
    try:
        yield spent
    finally:
        for hook in hooks:
            hook.remove()


@torch.inference_mode()
def layers_share(original: nn.Module, small: nn.Module, inputs: Tensor) -> float:
    """Added times of the small network's layers as a share of the original's, by turns."""
    with layer_times(original) as before, layer_times(small) as after:
        for _ in range(RUNS):
            original(inputs)
            small(inputs)
    return sum(after.values()) / sum(before.values())


def row(
    name: str, model: nn.Module, example: Tensor, batch: int, share: float
) -> dict[str, object]:
    model.eval()
    graph = prunella.trace(model, example)
    begin = time.perf_counter()
    known: dict[str, object] = {
        "network": name, "batch": batch, "asked": share,
        "threads": torch.get_num_threads(), "torch": torch.__version__,
    }  # fmt: skip
    try:
        plan = prunella.plan(
            graph, None, prunella.Latency(share, batch=batch), "random", model=model,
            multiple=MULTIPLE,
        )  # fmt: skip
    except prunella.BudgetError as error:
        return known | {"note": str(error)}
    seconds = time.perf_counter() - begin
    small = plan.apply(model).eval()
    (times,) = prunella.compare_latency(model, small, example, batches=(batch,), runs=RUNS)
    inputs = example.expand(batch, *example.shape[1:]).contiguous()
    params, macs, _ = plan.achieved.fraction_of(plan.original)
    assert plan.latency is not None
    return known | {
        "while_planning": f"{1 / plan.latency.speedup:.3f}",
        "measured": f"{1 / times.speedup:.3f}",
        "sum_of_layers": f"{layers_share(model, small, inputs):.3f}",
        "macs_kept": f"{macs:.3f}",
        "params_kept": f"{params:.3f}",
        "ms_before": f"{1e3 * times.before[1]:.2f}",
        "ms_after": f"{1e3 * times.after[1]:.2f}",
        "seconds_to_plan": f"{seconds:.1f}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/latency-budget.csv"))
    arguments = parser.parse_args()
    torch.manual_seed(0)
    networks = [
        ("resnet18 at 224", torchvision.models.resnet18(), torch.randn(1, 3, 224, 224), 1),
        ("vgg16_bn at 32", prunella.networks.vgg16_bn(), torch.randn(1, 3, 32, 32), 1),
        ("vgg16_bn at 32", prunella.networks.vgg16_bn(), torch.randn(1, 3, 32, 32), 16),
        ("mobilenet_v2 at 224", torchvision.models.mobilenet_v2(), torch.randn(1, 3, 224, 224), 1),
    ]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with arguments.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=COLUMNS, lineterminator="\n")
        writer.writeheader()
        for name, model, example, batch in networks:
            for share in SHARES:
                found = row(name, model, example, batch, share)
                writer.writerow(found)
                file.flush()
                print(", ".join(f"{key} {value}" for key, value in found.items()), flush=True)


if __name__ == "__main__":
    main()
