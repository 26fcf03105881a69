"""Two explanations until a late cue: what networks make of it, and statistics by step or pooled.

A walk leads away from 0 at a pace of its own. How far it is is seen at each step, with noise; on
which side, only at the last two of ten steps. Until then no single place can be right.

    python benchmarks/two_sides.py --seeds 0 1 2 --rates 0.003 0.01 --walks 8192 --epochs 16 \
        --out benchmarks/results/two-sides.csv

Every network is trained from several seeds with two learning rates, for a fixed number of epochs,
and has the one with the smaller error of the last step on walks for validation, mean of the seeds.
Written are, for test walks that nothing was chosen with, the mean square of the last place; the
same with the running statistics of batch norm pooled over all steps, which are found by one pass
over training walks, all else equal; how many of the walks have particles on both sides at the last
step before the cue; and the mean log-density of the true place then, of the mixture of the
particles (or of the prediction) with the standard deviation that is best for the walks of
validation. Rows that are there are not run again. Some 20 minutes of one processor core.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from _sequences import Sized, Table, equal, pf
from prunella.recurrent.norm import StepNorm
from prunella.retrain import fit
from prunella.sequences import SequenceSet
from prunella.tasks import (
    RECIPE,
    Architecture,
    SequenceNetwork,
    TaskData,
    build,
    objective_for,
    parameter_count,
)

STEPS, CUE, NOISE, START = 10, 8, 0.05, 0.5
PACES = (0.1, 0.25)
BATCH = 128
APART = {"scheme": "systematic", "resampling": "ess", "noise": 0.7, "beta": 1.0}
NETWORKS: Mapping[str, Sized] = {
    "pf-lstm": pf("pf-lstm"),
    "pf-gru": pf("pf-gru"),
    "pf-lstm-systematic": pf("pf-lstm", scheme="systematic"),
    "pf-gru-systematic": pf("pf-gru", scheme="systematic"),
    "pf-lstm-apart": pf("pf-lstm", **APART),
    "pf-gru-apart": pf("pf-gru", **APART),
    "pf-lstm-apart-tanh": pf("pf-lstm", candidate="tanh", **APART),
    "pf-gru-apart-tanh": pf("pf-gru", candidate="tanh", **APART),
    "lstm-equal": equal("lstm", "pf-lstm"),
    "gru-equal": equal("gru", "pf-gru"),
    "bn-lstm-equal": equal("bn-lstm", "pf-lstm"),
    "bn-gru-equal": equal("bn-gru", "pf-gru"),
}
COLUMNS = (
    "network", "seed", "learning_rate", "hidden", "parameters", "epochs", "walks", "validation",
    "last_step", "last_step_pooled", "both_sides", "log_density",
)  # fmt: skip


def walks(count: int, seed: int) -> SequenceSet:
    generator = torch.Generator().manual_seed(seed)
    side = 2.0 * torch.randint(0, 2, (count, 1), generator=generator) - 1
    pace = PACES[0] + (PACES[1] - PACES[0]) * torch.rand(count, 1, generator=generator)
    far = START + pace * torch.arange(1, STEPS + 1)
    seen = far + NOISE * torch.randn(count, STEPS, generator=generator)
    cue = torch.zeros(count, STEPS)
    cue[:, CUE:] = side
    return SequenceSet(
        name="two sides", inputs=torch.stack((seen, cue), -1), targets=(side * far).unsqueeze(-1),
        lengths=None, features=("seen", "cue"), outputs=("place",), scale=(1.0,), shift=(0.0,),
    )  # fmt: skip


def exact(data: SequenceSet) -> float:
    """Mean square of the last place's posterior mean, on a fine grid of paces."""
    pace = torch.linspace(*PACES, 2001, dtype=torch.float64)
    far = START + pace.unsqueeze(1) * torch.arange(1, STEPS + 1)  # (grid, T)
    seen = data.inputs[..., 0].double()
    logs = -(seen.unsqueeze(1) - far).square().sum(-1) / (2 * NOISE**2)
    mean = logs.softmax(1) @ far[:, -1]
    return float((mean - data.targets[:, -1, 0].abs()).square().mean())


def seen_by(network: SequenceNetwork, data: SequenceSet) -> tuple[Tensor, Tensor, Tensor]:
    """Means (B, T), places (B, T, K) and log-weights (B, T, K) in evaluation."""
    torch.manual_seed(0)
    network.eval()
    with torch.no_grad():
        if not hasattr(network.core, "unroll"):
            mean = network(data.inputs).mean[..., 0]
            return mean, mean.unsqueeze(-1), torch.zeros(*mean.shape, 1)
        found, trajectory = network.unroll(data.inputs)
    assert found.particles is not None
    return found.mean[..., 0], found.particles[..., 0], trajectory.log_weights


def density(places: Tensor, logs: Tensor, truth: Tensor, deviation: float) -> float:
    """Mean log-density of true places (B,) under mixtures of Gaussians around places (B, K)."""
    each = -((places - truth.unsqueeze(-1)) / deviation).square() / 2
    at = torch.logsumexp(logs + each, -1) - math.log(deviation * math.sqrt(2 * math.pi))
    return float(at.mean())


def last_error(network: SequenceNetwork, data: SequenceSet) -> float:
    mean, _, _ = seen_by(network, data)
    return float((mean[:, -1] - data.targets[:, -1, 0]).square().mean())


def pooled_error(network: SequenceNetwork, data: TaskData) -> float | None:
    """The error with statistics over all steps; the network has them from then on."""
    norm = getattr(network.core, "norm", None)
    if not isinstance(norm, StepNorm):
        return None
    pooled = StepNorm(norm.weight.numel(), 1)
    pooled.weight, pooled.bias = norm.weight, norm.bias
    network.core.norm = pooled
    torch.manual_seed(0)
    with torch.no_grad():
        for batch in data.train.inputs.split(BATCH):
            network.train()(batch)
    return last_error(network, data.test)


def trained(data: TaskData, architecture: Architecture, rate: float, seed: int, epochs: int) -> (
    dict[str, object]
):  # fmt: skip
    torch.manual_seed(seed)
    network = build(architecture, data)
    recipe = RECIPE.model_copy(update={"epochs": epochs, "learning_rate": rate})
    fit(
        network, data.train.loader(BATCH, shuffle=True), recipe, seed=seed,
        objective=objective_for(architecture, data),
    )  # fmt: skip
    _, held, held_logs = seen_by(network, data.validation)
    before = CUE - 1
    deviation = max(
        torch.logspace(-2, 0.7, 60).tolist(),
        key=lambda d: density(
            held[:, before], held_logs[:, before], data.validation.targets[:, before, 0], d
        ),
    )
    truth = data.test.targets[:, before, 0]
    _, places, logs = seen_by(network, data.test)
    sides = places[:, before] > 0
    row: dict[str, object] = {
        "hidden": architecture.hidden,
        "parameters": parameter_count(network),
        "validation": f"{last_error(network, data.validation):.5f}",
        "last_step": f"{last_error(network, data.test):.5f}",
        "both_sides": f"{float((sides.any(1) & ~sides.all(1)).float().mean()):.3f}",
        "log_density": f"{density(places[:, before], logs[:, before], truth, deviation):.3f}",
    }
    pooled = pooled_error(network, data)
    return {**row, "last_step_pooled": "" if pooled is None else f"{pooled:.5f}"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=NETWORKS, default=[*NETWORKS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--rates", nargs="+", type=float, default=[0.003])
    parser.add_argument("--walks", type=int, default=512)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--hidden", type=int, default=16)
    parser.add_argument("--particles", type=int, default=12)
    parser.add_argument("--out", type=Path, default=Path("two-sides.csv"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    data = TaskData(train=walks(given.walks, 1), validation=walks(1000, 2), test=walks(2000, 3))
    base = Architecture(hidden=given.hidden, particles=given.particles, dropout=0.0)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    table = Table(given.out, COLUMNS)
    setting = {"epochs": given.epochs, "walks": given.walks}
    if not any(row["network"] == "exact" for row in table.rows()):
        table.add([{"network": "exact", **setting, "last_step": f"{exact(data.test):.5f}"}])
    for seed in given.seeds:
        for rate in given.rates:
            for name in given.only:
                known = {"network": name, "seed": seed, "learning_rate": rate, **setting}
                if any(all(row[k] == str(v) for k, v in known.items()) for row in table.rows()):
                    continue
                architecture = NETWORKS[name](base, data)
                row = {**known, **trained(data, architecture, rate, seed, given.epochs)}
                table.add([row])
                print(row, flush=True)


if __name__ == "__main__":
    main()
