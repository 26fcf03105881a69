"""Put one wrong position into one tensor of a small network, and see which probes show it.

For each network some tensors and axes that were cut are drawn; one kept position is exchanged for
one that was removed, which is the least that a cut can do wrong. The outputs are then compared with
those of the masked original on one random image of each size, as `Plan.apply` does.

    python benchmarks/probe_sizes.py --out benchmarks/results/probe-sizes.csv
"""

from __future__ import annotations

import argparse
import csv
import random
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

import _vision
import prunella
from prunella.core.inputs import Inputs
from prunella.core.positions import complement, removed_positions
from prunella.core.types import ChannelGraph
from prunella.surgery import cut
from prunella.surgery.apply import stored_tensors
from prunella.surgery.masks import masked_at_inputs
from prunella.surgery.probes import probe
from prunella.surgery.quick import output_difference
from prunella.surgery.verify import TOLERANCE

NETWORKS = ("resnet18", "vgg11_bn", "mobilenet_v3_small", "regnet_y_400mf", "densenet121")
SIDES = 64, 128, 224
COLUMNS = ("model", "faults", *(f"found_at_{side}" for side in SIDES))


def examine(name: str, faults: int) -> dict[str, object]:
    """How many of the faults a probe of each size shows."""
    model, example = _vision.build("torchvision", name)
    graph = prunella.trace(model, example)
    kept = prunella.plan(graph, None, prunella.Params(0.5), method="random").kept
    small, masked = cut(model, graph, kept).eval(), masked_at_inputs(model, graph, kept).eval()
    generator = torch.Generator().manual_seed(0)
    probes = {
        side: probe(Inputs.of(torch.zeros(1, 3, side, side)), torch.device("cpu"), generator)
        for side in SIDES
    }
    found, drawn = dict.fromkeys(SIDES, 0), 0
    own = stored_tensors(small)
    for tensor, wrong in _faults(model, graph, kept, faults):
        right = own[tensor].detach().clone()
        own[tensor].data.copy_(wrong)
        drawn += 1
        for side in SIDES:
            found[side] += not output_difference(small, masked, probes[side]) <= TOLERANCE
        own[tensor].data.copy_(right)
    counts = {f"found_at_{side}": count for side, count in found.items()}
    return {"model": name, "faults": drawn, **counts}


def _faults(
    model: nn.Module, graph: ChannelGraph, kept: dict[str, Tensor], count: int
) -> Iterator[tuple[str, Tensor]]:
    """Names of tensors and what they hold with one wrong position, where that is another value."""
    chance = random.Random(0)
    tensors, removed = stored_tensors(model), removed_positions(graph, kept)
    places = [(name, axis) for name, axes in removed.items() for axis in axes]
    for name, axis in chance.sample(places, min(count, len(places))):
        right = wrong = tensors[name].detach()
        for other, gone in removed[name].items():
            stays = complement(gone, tensors[name].shape[other])
            right = right.index_select(other, stays)
            if other == axis:
                stays = stays.clone()
                stays[chance.randrange(len(stays))] = gone[chance.randrange(len(gone))]
            wrong = wrong.index_select(other, stays)
        if not torch.equal(right, wrong):
            yield name, wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--faults", type=int, default=60)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with options.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=COLUMNS, lineterminator="\n")
        writer.writeheader()
        for name in NETWORKS:
            row = examine(name, options.faults)
            writer.writerow(row)
            print(row, flush=True)


if __name__ == "__main__":
    main()
