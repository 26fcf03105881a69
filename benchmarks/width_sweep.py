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
again, goes on with the missing ones. The second draws what there is. The column `seconds` holds the
processor time of every row, with its two evaluations.
"""

from __future__ import annotations

import argparse
import copy
import csv
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils import prune as masks

import prunella
from prunella.core.panels import Curve, Panel, Study
from prunella.data import ImageSet, load
from prunella.report import draw_svg

SEEDS = (0, 1, 2)
WRONG = 0.2  # of the training labels
SCORED_ON = 512
COLUMNS = (
    "network", "seed", "width", "stage", "weights", "train_error", "test_error", "seconds",
)  # fmt: skip
Row = dict[str, str]
Stage = Literal["dense", "magnitude", "magnitude retrained", "pfp", "pfp repaired", "pfp retrained"]
INTERPOLATES = 0.005  # training error, in the mean of the seeds, below which a width is said to


class Perceptron(nn.Module):
    """One hidden layer: 794 weights for each of its units."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(28 * 28, width, bias=False)
        self.out = nn.Linear(width, 10, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.relu(self.hidden(x.flatten(1))))


class Convolutional(nn.Module):
    """Three convolutions of equal width: 18 w^2 + 169 w weights."""

    def __init__(self, width: int) -> None:
        super().__init__()
        # 28 -> 14 -> 7 -> 4 pixels on a side
        self.conv1 = nn.Conv2d(1, width, 3, stride=2, padding=1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False)
        self.conv3 = nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False)
        self.out = nn.Linear(4 * 4 * width, 10, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.conv1, self.conv2, self.conv3):
            x = torch.relu(layer(x))
        return self.out(x.flatten(1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One sweep.

    Attributes:
        title: Of its panels.
        data: Name of the data set.
        build: Makes the network of a width.
        widths: Rising.
        small: The width whose number of weights all are pruned to.
        samples: For training.
        batch: Samples in a step.
        recipe: Of training; retraining is the same with half the epochs.
    """

    title: str
    data: str
    build: Callable[[int], nn.Module]
    widths: tuple[int, ...]
    small: int
    samples: int
    batch: int
    recipe: prunella.Recipe


def adam(rate: float) -> prunella.Recipe:
    return prunella.Recipe(epochs=100, learning_rate=rate, weight_decay=0.0, optimizer="adam")


SETTINGS = {
    "mlp": Setting(
        title="MLP",
        data="mnist",
        build=Perceptron,
        widths=(4, 6, 8, 12, 16, 24, 32, 64, 128, 256),
        small=8,
        samples=4_000,
        batch=200,
        recipe=adam(0.01),
    ),
    "cnn": Setting(
        title="CNN",
        data="fashion-mnist",
        build=Convolutional,
        widths=(2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64),
        small=4,
        samples=1_000,
        batch=100,
        recipe=adam(0.005),
    ),
}
Cell = tuple[str, int, int]  # network, seed, width


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


def cells() -> list[Cell]:
    """Both networks with one seed come before the next seed."""
    return [(name, seed, width) for seed in SEEDS for name, s in SETTINGS.items()
            for width in s.widths]  # fmt: skip


def cell_of(row: Row) -> Cell:
    return row["network"], int(row["seed"]), int(row["width"])


def expected(cell: Cell) -> set[Stage]:
    """What has a row for this network, seed and width."""
    small = SETTINGS[cell[0]].small
    if cell[2] < small:
        return {"dense"}
    if cell[2] == small:
        return {"dense", "short", "magnitude", "magnitude retrained"}
    return {*get_args(Stage)} - {"short"}


def read(path: Path) -> list[Row]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write(path: Path, rows: Sequence[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


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


def values(rows: Sequence[Row], network: str, width: int, stage: Stage, column: str) -> list[float]:
    """Of all seeds; what is pruned by nothing is the network itself."""
    if width == SETTINGS[network].small and stage.startswith("pfp"):
        stage = "magnitude retrained" if stage == "pfp retrained" else "dense"
    own = {"network": network, "width": str(width), "stage": stage}
    return [float(row[column]) for row in rows if own.items() <= row.items()]


def interpolation(rows: Sequence[Row], network: str) -> int | None:
    """The first width from which on training errors vanish, in the mean of the seeds."""
    first = None
    for width in reversed(SETTINGS[network].widths):
        errors = values(rows, network, width, "dense", "train_error")
        if not errors or fmean(errors) >= INTERPOLATES:
            break
        first = width
    return first


LABELS: dict[Stage, str] = {
    "dense": "dense",
    "short": "small network, trained as long as others retrain",
    "magnitude": "magnitude",
    "magnitude retrained": "magnitude, retrained",
    "pfp": "pfp",
    "pfp repaired": "pfp, repaired",
    "pfp retrained": "pfp, retrained",
}
SMALL = "small network, trained directly"
PANELS: tuple[tuple[str, str, tuple[Stage, ...]], ...] = (
    ("training error", "train_error", ("dense",)),
    ("retrained", "test_error", ("dense", "short", "magnitude retrained", "pfp retrained")),
    ("not retrained", "test_error", ("dense", "magnitude", "pfp", "pfp repaired")),
)


def curves(rows: Sequence[Row], network: str, stage: Stage, column: str) -> Iterator[Curve]:
    """A line with points; what all widths have in common is a level."""
    setting = SETTINGS[network]
    widths = [setting.small] if stage == "short" else setting.widths
    found = {
        width: [100 * value for value in values(rows, network, width, stage, column)]
        for width in widths
    }
    found = {width: errors for width, errors in found.items() if errors}
    means = tuple(fmean(errors) for errors in found.values())
    if stage == "short":
        yield level(setting, LABELS[stage], means[0], dashed=False)
        return
    places = tuple(map(float, found))
    yield Curve(name=LABELS[stage], x=places, y=means)
    errors = tuple(standard_error(errors) for errors in found.values())
    yield Curve(name=LABELS[stage], x=places, y=means, errors=errors, marks=True)


def level(setting: Setting, name: str, value: float, *, dashed: bool) -> Curve:
    ends = float(setting.widths[0]), float(setting.widths[-1])
    return Curve(name=name, x=ends, y=(value, value), dashed=dashed)


def standard_error(found: Sequence[float]) -> float:
    return stdev(found) / len(found) ** 0.5 if len(found) > 1 else 0.0


def panel(
    rows: Sequence[Row], network: str, what: str, column: str, chosen: Sequence[Stage]
) -> Panel:
    setting = SETTINGS[network]
    drawn = [curve for stage in chosen for curve in curves(rows, network, stage, column)]
    if column == "test_error":
        small = 100 * fmean(values(rows, network, setting.small, "dense", column))
        drawn.append(level(setting, SMALL, small, dashed=True))
    first = interpolation(rows, network)
    return Panel(
        title=f"{setting.title}: {what}",
        x_title="width before pruning",
        y_title="training error, %" if column == "train_error" else "test error, %",
        curves=tuple(drawn),
        lines=() if first is None else ((float(first), "fits all labels"),),
        log_x=True,
    )


def study(rows: Sequence[Row]) -> Study:
    """F6: a column of panels for each network."""
    return Study(
        key="networks",
        title="Networks of many widths, pruned to the size of a small one",
        text="Means of three seeds with their standard errors.",
        panels=tuple(panel(rows, name, *what) for what in PANELS for name in SETTINGS),
        names=tuple(LABELS.values()),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/width-sweep.csv"))
    parser.add_argument("--mnist", type=Path, help="folder with the files of MNIST")
    parser.add_argument("--fashion-mnist", type=Path, help="folder with those of Fashion-MNIST")
    parser.add_argument("--draw", type=Path, help="draw the table into this file; nothing is run")
    options = parser.parse_args()
    if options.draw is None:
        torch.set_num_threads(1)
        sweep(options.out, {"mnist": options.mnist, "fashion-mnist": options.fashion_mnist})
    else:
        options.draw.write_text(draw_svg(study(read(options.out))), encoding="utf-8")


if __name__ == "__main__":
    main()
