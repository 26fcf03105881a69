"""Networks of many widths, trained on noisy labels, pruned to one size, and retrained.

A fifth of the training labels are wrong, and training goes on until wide networks fit them. Every
network is then pruned to as many weights as a narrow network of the sweep has: by the magnitude of
single weights over all layers, and by whole units or channels with `pfp`. No layer has biases, so
that weights and parameters are the same. What is retrained starts from the pruned weights and sees
the same samples, with their wrong labels, for half as many epochs. The narrow network is also
trained from its initial weights for so long, which tells what was inherited from what training less
does. A seed draws samples, wrong labels, initial weights and batches.

From the root of the repository:

    python benchmarks/width_sweep.py --mnist mnist --fashion-mnist /usr/share/datasets/fashion-mnist
    python benchmarks/width_sweep.py --draw docs/assets/double-descent-networks.svg

The first one has the cells of one seed after the other, keeps each when it is done and, started
again, goes on with the missing ones. The second draws what there is, and prints the tables
of docs/theory/double-descent-networks.md. The column `seconds` holds the
processor time of every row, with its two evaluations.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn
from torch.nn.utils import prune as masks

import prunella
from _width_figures import study, tables
from _widths import SETTINGS, Cell, Row, Setting, Stage, cell_of, cells, expected, read, write
from prunella.data import ImageSet, load
from prunella.report import draw_svg

WRONG = 0.2  # of the training labels
SCORED_ON = 512


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Samples:
    """What one network is trained and judged on."""

    train: ImageSet
    test: ImageSet


def noisy(known: ImageSet, count: int, *, seed: int) -> ImageSet:
    """Some of the samples in random order, the first of them with a wrong label."""
    generator = torch.Generator().manual_seed(seed)
    drawn = known.subset(torch.randperm(len(known), generator=generator)[:count])
    wrong, classes = round(WRONG * count), len(known.classes)
    labels = drawn.labels.clone()
    labels[:wrong] += torch.randint(1, classes, (wrong,), generator=generator)
    return replace(drawn, labels=labels % classes)


def initial(setting: Setting, width: int, *, seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return setting.build(width)


def weights_of(model: nn.Module) -> int:
    """Weights that are not zero."""
    layers = (m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d))
    return sum(int(layer.weight.detach().count_nonzero()) for layer in layers)


def train(model: nn.Module, setting: Setting, samples: Samples, *, seed: int, part: int) -> None:
    loader = samples.train.loader(setting.batch, shuffle=True, generator=torch.Generator())
    recipe = setting.recipe.model_copy(update={"epochs": setting.recipe.epochs // part})
    prunella.fit(model, loader, recipe, seed=seed)


def prune_by_magnitude(model: nn.Module, kept: int) -> nn.Module:
    """A copy whose smallest weights, over all layers, are held at zero by masks."""
    pruned = copy.deepcopy(model)
    layers = [(m, "weight") for m in pruned.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    amount = weights_of(pruned) - kept
    masks.global_unstructured(layers, masks.L1Unstructured, amount=amount)
    return pruned


def stages(
    setting: Setting, samples: Samples, width: int, *, seed: int
) -> Iterator[tuple[Stage, nn.Module]]:
    """The networks that come of one trained network; each is judged before the next is made."""
    model = initial(setting, width, seed=seed)
    train(model, setting, samples, seed=seed, part=1)
    yield "dense", model
    if width < setting.small:
        return
    kept = weights_of(initial(setting, setting.small, seed=seed))
    masked = prune_by_magnitude(model, kept)
    yield "magnitude", masked
    train(masked, setting, samples, seed=seed, part=2)
    yield "magnitude retrained", masked
    if width == setting.small:
        short = initial(setting, width, seed=seed)
        train(short, setting, samples, seed=seed, part=2)
        yield "short", short
        return  # nothing to remove: pfp's networks are those of the magnitude
    graph = prunella.trace(model, samples.train.subset(range(1)).images.float())
    scored_on = samples.train.subset(range(len(samples.train) - SCORED_ON, len(samples.train)))
    scores = prunella.score(model, graph, scored_on.loader(128), "pfp")
    budget = prunella.Params((kept + 0.5) / weights_of(model))  # at most `kept`, after rounding
    plan = prunella.plan(graph, scores, budget, "pfp")
    cut = plan.apply(model)
    yield "pfp", cut
    yield "pfp repaired", prunella.repaired(model, cut, plan, samples.train.loader(128), seed=seed)
    train(cut, setting, samples, seed=seed, part=2)
    yield "pfp retrained", cut


def rows_of(cell: Cell, samples: Samples) -> Iterator[Row]:
    network, seed, width = cell
    began = time.process_time()
    for stage, model in stages(SETTINGS[network], samples, width, seed=seed):
        errors = [1 - prunella.accuracy(model, part.loader(500))[0]
                  for part in (samples.train, samples.test)]  # fmt: skip
        now = time.process_time()
        yield {
            "network": network,
            "seed": str(seed),
            "width": str(width),
            "stage": stage,
            "weights": str(weights_of(model)),
            "train_error": f"{errors[0]:.4f}",
            "test_error": f"{errors[1]:.4f}",
            "seconds": f"{now - began:.2f}",
        }
        began = now


def sweep(path: Path, folders: dict[str, Path | None]) -> None:
    """Add the rows of all cells that the table does not have."""
    sets = {
        data: [load(data, part, data_dir=folder) for part in ("train", "test")]
        for data, folder in folders.items()
    }
    rows = read(path)
    for cell in cells():
        name, seed, _ = cell
        own = [row for row in rows if cell_of(row) == cell]
        if {row["stage"] for row in own} == expected(cell):
            continue
        known_images, test = sets[SETTINGS[name].data]
        images = noisy(known_images, SETTINGS[name].samples, seed=seed)
        new = list(rows_of(cell, Samples(train=images, test=test)))
        rows = [*(row for row in rows if row not in own), *new]
        rows.sort(key=lambda row: cells().index(cell_of(row)))
        write(path, rows)
        print(*(", ".join(row.values()) for row in new), sep="\n", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/width-sweep.csv"))
    parser.add_argument("--mnist", type=Path, help="folder with the files of MNIST")
    parser.add_argument("--fashion-mnist", type=Path, help="folder with those of Fashion-MNIST")
    parser.add_argument("--draw", type=Path, help="draw the results into this file; nothing is run")
    options = parser.parse_args()
    if options.draw is None:
        torch.set_num_threads(1)
        sweep(options.out, {"mnist": options.mnist, "fashion-mnist": options.fashion_mnist})
    else:
        rows = read(options.out)
        options.draw.write_text(draw_svg(study(rows)), encoding="utf-8")
        print(*tables(rows), sep="\n")


if __name__ == "__main__":
    main()
