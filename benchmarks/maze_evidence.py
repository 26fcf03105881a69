"""What the beliefs of trained maze networks are like, and how sure the gaps between networks are.

Reads the weights that maze.py left beside its table, with the same options, and judges them on the
same test walks. Nothing is trained or chosen. OUT-beliefs.csv has, by step: errors of the place in
cells squared for each coordinate (of the mean, of the mean without the weights, of the best
particle, of a particle in the mean), the effective sample size before resampling, and how far
particles lie from their mean, in cells. OUT-lineages.csv has how many of the particles before the
first step have descendants after a step. OUT-densities.csv has, for
every network, the mean logarithm of the density that its prediction has at the true place (nats for
both coordinates): the mixture of a belief's particles, or a Gaussian around a prediction without
particles, with the standard deviation, one for each step, that is best on the validation walks.
OUT-particles.csv has the error of the last step with other numbers of particles than in training.
Rows of these four are not made again. OUT-gaps.csv is; it has by how much the first of two networks
has the smaller error at the last step, in percent of the second's: the mean of the gaps of those
seeds that both were trained from, its standard error over the seeds, and that over the walks (2,000
bootstrap samples of the walks, the seeds averaged).

    python benchmarks/maze_evidence.py --rates maze-search.csv --data-seed 2 --seeds 0 1 2 \
        --sequences 1000 --epochs 25 --out maze.csv
"""

from __future__ import annotations

import statistics
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from _sequences import BATCH, CONFIGURATIONS, Bench, Row, Table, bench_of, parser, rates_from
from prunella.recurrent import PFGRU, PFLSTM, PredictiveMixture
from prunella.retrain.assess import seed_epoch
from prunella.sequences import SequenceSet
from prunella.tasks import SequenceNetwork

STEPS = (1, 2, 5, 10, 20, 40)
COUNTS = (1, 3, 10, 30, 100)
BELIEFS = (
    "configuration", "seed", "step", "mean", "unweighted", "best_particle", "one_particle",
    "effective", "spread",
)  # fmt: skip
LINEAGES = ("configuration", "seed", "step", "lineages")
DENSITIES = ("configuration", "seed", "step", "sigma", "log_density")
SIGMAS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.2, 1.4, 1.7, 2.0, 2.4, 2.8, 3.2)
PARTICLES = ("configuration", "seed", "particles", "last")
GAPS = ("first", "second", "seeds", "gap", "seeds_standard_error", "walks_standard_error")
WITH_BELIEF = (
    "pf-lstm", "pf-gru", "pf-lstm-30", "pf-lstm-no-elbo", "pf-lstm-no-resampling",
    "pf-lstm-systematic", "pf-lstm-apart", "pf-gru-systematic",
)  # fmt: skip
AGAINST = {
    "pf-lstm": (
        "lstm-equal", "lstm-large", "bn-lstm-equal", "pf-lstm-1", "pf-lstm-no-elbo",
        "pf-lstm-no-resampling", "pf-lstm-tanh", "pf-lstm-systematic", "pf-lstm-apart",
    ),
    "pf-gru": ("gru-equal", "gru-large", "bn-gru-equal", "pf-gru-1", "pf-gru-systematic"),
    "pf-gru-1": ("gru-equal", "bn-gru-equal"),
    "pf-gru-systematic": ("gru-equal", "gru-large", "bn-gru-equal"),
    "pf-lstm-systematic": ("lstm-equal", "lstm-large", "bn-lstm-equal"),
    "pf-lstm-30": ("lstm-equal", "bn-lstm-equal", "pf-lstm-1", "pf-lstm"),
}  # fmt: skip
Floats = NDArray[np.float64]


def places_of(bench: Bench, name: str, seed: int) -> Floats:  # (N,)
    """Error of each test walk at its last step."""
    network, errors = bench.load(name, seed), []
    loader = bench.data.test.loader(BATCH)
    seed_epoch(loader, seed=seed, epoch=0)  # the noise that the table was made with
    with torch.no_grad():
        for inputs, targets in loader:
            samples = bench.data.test
            apart = samples.in_units(network(inputs).mean) - samples.in_units(targets)
            errors.append(apart[:, -1, :2].double().square().mean(-1))
    return torch.cat(errors).numpy()


def beliefs_of(bench: Bench, name: str, seed: int) -> list[Row]:
    """The table of one network, by step."""
    network = bench.load(name, seed)
    assert isinstance(network, SequenceNetwork)
    samples = bench.data.test
    torch.manual_seed(seed)
    with torch.no_grad():
        found, trajectory = network.unroll(samples.inputs)
        plain = network._read(trajectory.particles.mean(2))
    truth = samples.in_units(samples.targets)[..., :2]
    particles = samples.in_units(found.particles)[..., :2]
    middle = samples.in_units(found.mean)[..., :2]

    def error(places: Tensor, of: Tensor) -> Tensor:
        return (places - of).double().square().mean(-1)

    each = error(particles, truth.unsqueeze(2))  # (N, T, K)
    columns = {
        "mean": error(middle, truth),
        "unweighted": error(samples.in_units(plain)[..., :2], truth),
        "best_particle": each.min(2).values,
        "one_particle": each.mean(2),
        "effective": trajectory.effective_sample_size().double(),
        "spread": (2 * error(particles, middle.unsqueeze(2))).mean(2).sqrt(),
    }
    return [
        {"configuration": name, "seed": seed, "step": step}
        | {key: f"{float(value[:, step - 1].mean()):.4f}" for key, value in columns.items()}
        for step in STEPS
        if step <= truth.shape[1]
    ]


def lineages_of(bench: Bench, name: str, seed: int) -> list[Row]:
    """Their mean over the test walks, by step."""
    network = bench.load(name, seed)
    assert isinstance(network, SequenceNetwork)
    torch.manual_seed(seed)
    with torch.no_grad():
        counts = network.unroll(bench.data.test.inputs)[1].lineages().double().mean(0)
    return [
        {"configuration": name, "seed": seed, "step": step, "lineages": f"{counts[step - 1]:.2f}"}
        for step in STEPS
        if step <= len(counts)
    ]


def mixture_of(
    network: nn.Module, samples: SequenceSet, step: int, *, seed: int
) -> tuple[Tensor, Tensor, Tensor]:  # (N, K, 2), (N, K), (N, 2)
    """Predicted places and their log-weights at a step, and the true places."""
    torch.manual_seed(seed)
    with torch.no_grad():
        if isinstance(network, SequenceNetwork) and isinstance(network.core, PFLSTM | PFGRU):
            found, trajectory = network.unroll(samples.inputs[:, :step])
            places, logs = found.particles[:, -1], trajectory.log_weights[:, -1]
        else:
            places = network(samples.inputs[:, :step]).mean[:, -1:]
            logs = places.new_zeros(places.shape[:-1])
    truth = samples.in_units(samples.targets)[:, step - 1, :2]
    return samples.in_units(places)[..., :2].double(), logs.double(), truth.double()


def densities_of(bench: Bench, name: str, seed: int) -> list[Row]:
    """How probable a network finds the true places of the test walks, by step."""
    network, rows = bench.load(name, seed), []
    for step in (step for step in STEPS if step <= bench.data.test.targets.shape[1]):
        chosen, judged = (
            mixture_of(network, samples, step, seed=seed)
            for samples in (bench.data.validation, bench.data.test)
        )
        sigma = max(SIGMAS, key=lambda s: log_density(*chosen, sigma=s))
        known = {"configuration": name, "seed": seed, "step": step, "sigma": sigma}
        rows.append({**known, "log_density": f"{log_density(*judged, sigma=sigma):.4f}"})
    return rows


def log_density(
    places: Tensor,  # (N, K, 2)
    log_weights: Tensor,  # (N, K)
    truth: Tensor,  # (N, 2)
    *,
    sigma: float,
) -> float:
    """Mean over the walks."""
    mixture = PredictiveMixture(predictions=places, log_weights=log_weights, sigma=sigma)
    return float(mixture.log_density(truth).mean())


def particles_of(bench: Bench, name: str, seed: int) -> list[Row]:
    """The error of the last step with other numbers of particles."""
    network = bench.load(name, seed)
    assert isinstance(network, SequenceNetwork)
    rows: list[Row] = []
    for count in COUNTS:
        network.core.num_particles = count
        test = bench.tested(network, seed, bench.architecture(name))
        known = {"configuration": name, "seed": seed, "particles": count}
        rows.append({**known, "last": f"{test['loss_last']:.4f}"})
    return rows


def gap(first: Floats, second: Floats) -> Row:  # (S, N) each
    """By how much the first is better, in percent, with two standard errors."""
    of_seeds = [100 * (1 - float(a.mean() / b.mean())) for a, b in zip(first, second, strict=True)]
    generator = np.random.default_rng(0)
    drawn = generator.integers(0, first.shape[1], (2000, first.shape[1]))
    mine, other = first.mean(0)[drawn].mean(1), second.mean(0)[drawn].mean(1)
    return {
        "gap": f"{statistics.mean(of_seeds):.1f}",
        "seeds_standard_error": f"{statistics.stdev(of_seeds) / len(of_seeds) ** 0.5:.1f}",
        "walks_standard_error": f"{float((100 * (1 - mine / other)).std()):.1f}",
    }


def main() -> None:
    options = parser(__doc__, names=list(CONFIGURATIONS))
    options.add_argument("--task", default="maze10")
    options.add_argument("--sequences", type=int, default=500)
    options.add_argument("--steps", type=int, default=40)
    options.add_argument("--out", type=Path, default=Path("maze.csv"))
    given = options.parse_args()
    rates = rates_from(given.rates, given.task, given.learning_rate)
    bench = bench_of(given, given.task, rates)

    def trained(name: str) -> list[int]:
        if name not in given.only:
            return []
        return [seed for seed in given.seeds if bench.weights(name, seed).exists()]

    if not any(trained(name) for name in CONFIGURATIONS):
        print(f"There are no weights in {bench.weights('pf-lstm', 0).parent}; run maze.py first.")
        return
    beside = {
        kind: Table(given.out.with_name(f"{given.out.stem}-{kind}.csv"), columns)
        for kind, columns in (
            ("beliefs", BELIEFS),
            ("lineages", LINEAGES),
            ("densities", DENSITIES),
            ("particles", PARTICLES),
            ("gaps", GAPS),
        )
    }
    there = {(row["configuration"], row["seed"]) for row in beside["particles"].rows()}
    known = {(row["configuration"], row["seed"]) for row in beside["densities"].rows()}
    for name in WITH_BELIEF:
        for seed in trained(name):
            if (name, str(seed)) not in there:
                beside["beliefs"].add(beliefs_of(bench, name, seed))
                beside["lineages"].add(lineages_of(bench, name, seed))
                beside["particles"].add(particles_of(bench, name, seed))
    for name in CONFIGURATIONS:
        for seed in trained(name):
            if (name, str(seed)) not in known:
                beside["densities"].add(densities_of(bench, name, seed))
    beside["gaps"].path.unlink(missing_ok=True)
    judged = cache(lambda name, seed: places_of(bench, name, seed))
    for first, seconds in AGAINST.items():
        for second in seconds:
            common = [seed for seed in trained(first) if seed in trained(second)]
            if len(common) > 1:
                pair = [np.stack([judged(name, s) for s in common]) for name in (first, second)]
                known = {"first": first, "second": second, "seeds": len(common)}
                beside["gaps"].add([known | gap(*pair)])


if __name__ == "__main__":
    main()
