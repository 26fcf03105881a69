"""How often what is certified of small networks on MNIST is wrong; writes a table.

The 10,000 test images are all the samples there are, so that every true value is known: each draw
takes 2,000 of them, with replacement (independent draws, as the theorems have it), and the
certificate and the search for the smallest network are made from these. The candidates are made
from training images: 30 sizes as `prunella.prune` makes them, repaired; the same before repair; and
30 seeds of a randomised method at one size. From the root of the repository, half an hour on
one core:

    echo 'recipe: {flip: true}' > mirrored.yaml  # the weights behind the table are so trained
    prunella train --network lenet5 --data mnist --data-dir mnist --epochs 6 --seed 0 \\
        --config mirrored.yaml --out lenet5
    python benchmarks/mnist_validity.py --data-dir mnist --weights lenet5/weights.safetensors \\
        --out docs/theory/mnist-validity.csv

Beside the table a JSON file describes the machine and the candidates, and says whether the whole of
`certify` and `smallest` finds, on a few draws without replacement, what the simulation finds.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import prunella
from _validity import LOSS, Family, Row, drawn
from _validity_certificates import ALPHA, TOP, certificate_rows, uppers
from _validity_walks import OTHER, answers, chosen, start_of, walk_rows
from prunella.certificate.losses import loss_values
from prunella.certificate.recording import Recorder
from prunella.core.batches import read_batch
from prunella.core.progress import silent
from prunella.data import ImageSet
from prunella.pipeline.judging import Answers
from prunella.pipeline.task import Task

COUNT = 30
SHARES = tuple(round(0.9 * (0.02 / 0.9) ** (place / (COUNT - 1)), 4) for place in range(COUNT))
TRIED = 0.25  # share of the parameters that the tries with other seeds keep
DELTAS = (0.01, 0.05, 0.1)
SAMPLES, CALIBRATION, BATCH = 2_000, 1_024, 250
CERTIFIED = (0.005, 0.025)  # of the sizes, the candidates that disagree about so often
NO_TRAINING = prunella.Recipe(epochs=0)


def brier(logits: Tensor, labels: Tensor) -> Tensor:
    """Half the squared distance between probabilities and labels, (N,) from 0 to 1."""
    wanted = nn.functional.one_hot(labels, logits.shape[1])
    return (logits.double().softmax(1) - wanted).square().sum(1).div(2).clamp(0, 1)


def made(
    model: nn.Module, known: ImageSet
) -> Iterator[tuple[str, list[prunella.Plan], list[nn.Module]]]:
    """Name, plans and networks of each family."""

    def one(share: float, method: str, seed: int):
        return prunella.prune(
            model, known.loader(128), budget=prunella.Params(share), method=method, seed=seed,
            recipe=NO_TRAINING, progress=silent,
        )  # fmt: skip

    results = [one(share, "pfp", 0) for share in SHARES]
    plans = [result.plan for result in results]
    yield "30 sizes, repaired", plans, [result.model for result in results]
    yield "30 sizes, not repaired", plans, [plan.apply(model) for plan in plans]
    results = [one(TRIED, "pfp-random", seed) for seed in range(COUNT)]
    yield "30 seeds, repaired", [r.plan for r in results], [r.model for r in results]


@torch.no_grad()
def answered(
    name: str,
    plans: Sequence[prunella.Plan],
    model: nn.Module,
    small: Sequence[nn.Module],
    test: ImageSet,
) -> Family:
    """What all candidates answer on all images."""
    batches = list(test.loader(BATCH))
    before = [model(inputs).double() for inputs, _ in batches]
    found = []
    for network in small:
        recorder = Recorder(TOP)
        for (inputs, labels), first in zip(batches, before, strict=True):
            second = network.eval()(inputs).double()
            for column, logits in enumerate((first, second)):
                values = loss_values(LOSS, brier, logits, labels, len(labels), whose="small")
                recorder.losses[LOSS][column].append(values)
            recorder.add(read_batch((inputs, labels)), first, second)
        found.append(recorder.outcomes())
    one = found[0]
    return Family(
        name=name,
        params=np.array([plan.achieved.params / plan.original.params for plan in plans]),
        labels=one.labels,
        original=one.original,
        small=np.stack([each.small for each in found]),
        errors=np.stack([each.errors for each in found]),
        ranks=one.ranks[0],
        small_ranks=np.stack([each.ranks[1] for each in found]),
        loss=one.losses[LOSS][0],
        small_loss=np.stack([each.losses[LOSS][1] for each in found]),
    )


def families(model: nn.Module, known: ImageSet, test: ImageSet, kept: Path | None) -> list[Family]:
    """All families; read where they were kept before."""
    if kept is not None and kept.exists():
        return [Family.load(path) for path in sorted(kept.glob("*.npz"))]
    found = [answered(name, plans, model, small, test) for name, plans, small in made(model, known)]
    if kept is not None:
        kept.mkdir(parents=True)
        for number, family in enumerate(found):
            family.save(kept / f"{number}.npz")
    return found


def by_the_whole_of_smallest(
    model: nn.Module, known: ImageSet, test: ImageSet, family: Family
) -> list[dict[str, object]]:
    """A few draws through `smallest`, and what the simulated walk makes of the same draws."""
    population = len(family.labels)
    generator = np.random.default_rng(0)
    found = []
    for risk, level, started in (("accuracy_drop", 0.015, False), ("disagreement", 0.03, True)):
        both = drawn(generator, population, 2 * SAMPLES, "without replacement")
        tests, selection = both[:SAMPLES], both[SAMPLES:]
        task = Task.checked(risk=risk, alpha=level, delta=0.05, unit=prunella.Params, shares=SHARES)
        start = start_of(task, of_one(family, risk, selection), SAMPLES) if started else 0
        place = chosen(task, of_one(family, risk, tests), start)
        upper = of_one(family, OTHER[risk], tests)[place].upper(OTHER[risk], 0.05 / COUNT)
        result = prunella.smallest(
            model, known.loader(128), test.subset(tests).loader(BATCH), risk=risk, alpha=level,
            delta=0.05, shares=SHARES, recipe=NO_TRAINING, progress=silent,
            selection=test.subset(selection).loader(BATCH) if started else None,
        )  # fmt: skip
        walk = result.walk
        found.append(
            {
                "risk": risk,
                "level": level,
                "smallest": {
                    "shares": list(walk.shares),
                    "start": walk.shares[walk.start],
                    "chosen": walk.chosen,
                    "other_bound": getattr(result.certificate, f"{OTHER[risk]}_upper"),
                },
                "simulated": {
                    "shares": list(SHARES),
                    "start": SHARES[start],
                    "chosen": SHARES[place],
                    "other_bound": upper,
                },
            }
        )
    return found


def of_one(family: Family, risk: str, at: np.ndarray) -> list[Answers]:
    """What all candidates answer on the samples of one draw."""
    (found,) = answers(family.events(risk)[at].sum(0)[None].astype(int), len(at))
    return found


def by_the_whole_of_certify(
    model: nn.Module, known: ImageSet, test: ImageSet, family: Family
) -> dict[str, object]:
    """One draw through `certify`, and what the simulation makes of the same draw."""
    place = nearest(family, CERTIFIED[1])
    at = drawn(np.random.default_rng(1), len(test), SAMPLES, "without replacement")
    small = prunella.prune(
        model, known.loader(128), budget=prunella.Params(SHARES[place]), recipe=NO_TRAINING,
        progress=silent,
    ).model  # fmt: skip
    made = prunella.certify(
        model, small, test.subset(at).loader(BATCH), alpha=ALPHA, delta=0.01, per_class=True,
        top_k=TOP,
    )  # fmt: skip
    (disagreement, drop, outputs, _, top, *_), classes = uppers(family.outcomes(place, at), 0.01)
    return {
        "certified": [
            made.disagreement_upper, made.accuracy_drop_upper, made.logit_error_bound,
            made.top_k.accuracy_drop_upper, *(bound.disagreement_upper for bound in made.classes),
        ],
        "simulated": [disagreement, drop, outputs, top, *classes.tolist()],
    }  # fmt: skip


def nearest(family: Family, disagreement: float) -> int:
    """Place of the candidate that disagrees about so often."""
    risks = (family.small != family.original).mean(1)
    return int(np.abs(risks - disagreement).argmin())


def rows(found: Sequence[Family], draws: int, seed: int) -> Iterator[Row]:
    settings = {"deltas": DELTAS, "samples": SAMPLES, "draws": draws, "seed": seed}
    for family, risk in (
        (found[0], CERTIFIED[0]),
        (found[0], CERTIFIED[1]),
        (found[1], CERTIFIED[1]),
    ):
        yield from certificate_rows(family, nearest(family, risk), **settings)
    for family in found:
        yield from walk_rows(family, **settings)


def train(model: torch.nn.Module, training: prunella.data.ImageSet) -> None:
    """Six epochs, as `prunella train --network lenet5 --data mnist --epochs 6` does."""
    recipe = prunella.Recipe(epochs=6, learning_rate=0.1, shift=2)
    prunella.fit(model, training.loader(128, shuffle=True), recipe, seed=0)


def described(family: Family) -> dict[str, object]:
    """True values of all candidates."""
    right = (family.original == family.labels).mean()
    return {
        "params_kept": [round(float(share), 4) for share in family.params],
        "disagreement": [float(x) for x in (family.small != family.original).mean(1)],
        "accuracy_drop": [
            round(float(right - x), 4) for x in (family.small == family.labels).mean(1)
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--weights", type=Path, help="of a trained LeNet-5; without, one is trained (minutes)"
    )
    parser.add_argument("--data-dir", type=Path, help="folder with MNIST's IDX files")
    parser.add_argument("--out", type=Path, default=Path("docs/theory/mnist-validity.csv"))
    parser.add_argument("--outcomes", type=Path, help="folder that keeps the candidates' answers")
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    from _vision import write_machine  # needs torchvision and timm, which nothing else here does

    begun = time.process_time()
    torch.set_num_threads(1)
    training, test = (
        prunella.data.load("mnist", split, data_dir=given.data_dir) for split in ("train", "test")
    )
    model = prunella.networks.lenet5()
    if given.weights is not None:
        prunella.load_weights(given.weights, model)
    else:
        train(model, training)
    model.eval()
    known = training.subset(range(CALIBRATION))
    found = families(model, known, test, given.outcomes)
    searches = by_the_whole_of_smallest(model, known, test, found[0])
    certified = by_the_whole_of_certify(model, known, test, found[0])
    with given.out.open("w", newline="", encoding="utf-8") as file:
        writer = None
        for row in rows(found, given.draws, given.seed):
            if writer is None:
                writer = csv.DictWriter(file, row, lineterminator="\n")
                writer.writeheader()
            writer.writerow(row)
            file.flush()
    write_machine(
        given.out,
        samples=SAMPLES,
        draws=given.draws,
        seed=given.seed,
        accuracy=float((found[0].original == found[0].labels).mean()),
        candidates={family.name: described(family) for family in found},
        by_smallest=searches,
        by_certify=certified,
        processor_seconds=round(time.process_time() - begun),
    )


if __name__ == "__main__":
    main()
