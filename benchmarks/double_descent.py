"""Predicted and simulated test errors of pruned linear models, side by side.

Four families of spectra, eight model sizes and seven estimators at n = 200, d = 1,000, s = 50,
noise 0.3, besides retraining beyond s = n, correlated features and random features. Rows that the
file has are not simulated again. Each row says whether both are within 4 standard errors or 3 %.

    python benchmarks/double_descent.py --out benchmarks/results/double-descent.csv
"""

from __future__ import annotations

import argparse
import csv
import os
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from prunella.theory import (
    FAMILIES,
    Estimate,
    compare,
    draw_weights,
    family,
    make_correlated,
    make_problem,
    predict_problem,
    predict_sizes,
    random_feature_problem,
    sampled_risks,
    simulate,
    simulate_correlated,
    simulate_random_features,
)

N, D, S, NOISE = 200, 1000, 50, 0.3
SIZES = (100, 150, 250, 300, 400, 600, 800, 1000)
TRIALS = 240
SEED = 20201218
COLUMNS = (
    "family", "n", "p", "s", "estimator", "predicted", "simulated", "standard_error", "trials",
    "standard_errors_apart", "relative_difference", "passed",
)  # fmt: skip
Cell = tuple[str, int, int]  # family, p, s
CELLS: tuple[Cell, ...] = (
    *((name, p, S) for name in FAMILIES for p in SIZES),
    *((name, 1000, 400) for name in FAMILIES),
    *((name, p, S) for name in ("equal correlation 0.5", "neighbours 0.8") for p in (100, 600)),
    *((f"random features of {inputs} inputs", p, S) for inputs in (50, 10) for p in (100, 600)),
    # Beside p = n; at the end, since the seed of a cell is its place.
    *((name, 300, S) for name in ("equal correlation 0.5", "neighbours 0.8")),
    *((f"random features of {inputs} inputs", 300, S) for inputs in (50, 10)),
)
Numbers = tuple[Mapping[str, float], Mapping[str, Estimate]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/double-descent.csv"))
    parser.add_argument("--workers", type=int, default=2, help="processes; no result depends on it")
    options = parser.parse_args()
    began = time.perf_counter()
    rows: list[dict[str, str]] = []
    if options.out.exists():
        with options.out.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    known = {(row["family"], int(row["p"]), int(row["s"])) for row in rows}
    missing = [cell for cell in CELLS if cell not in known]
    for cell, new in computed(missing, options.workers):
        rows.extend(new)
        write(options.out, rows)
        print(
            f"{cell}: {sum(row['passed'] == 'no' for row in new)} of {len(new)} apart", flush=True
        )
    failed = [row for row in rows if row["passed"] == "no"]
    print(f"{len(rows)} comparisons, {len(failed)} apart, {time.perf_counter() - began:.0f} s")
    print(f"theory alone, 200 sizes up to 2,000 features: {theory_alone():.2f} s of processor time")
    for row in failed:
        print("apart:", *(row[column] for column in COLUMNS[:8]))


def theory_alone() -> float:
    spectrum = family("power", 2000)
    sizes = [round(S + (2000 - S) * i / 199) for i in range(200)]
    began = time.process_time()
    predict_sizes(spectrum.eigenvalues, spectrum.coefficients, NOISE, 400, sizes, S)
    return time.process_time() - began


def computed(cells: list[Cell], workers: int) -> Iterator[tuple[Cell, list[dict[str, str]]]]:
    """The rows of each cell, as they are done."""
    if workers < 2:
        yield from ((cell, rows_of(cell)) for cell in cells)
        return
    # New processes, not forks: linear algebra reads the variable when it is loaded. Two processes
    # of two threads each, which wait for each other, take twenty times as long.
    os.environ["OMP_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(rows_of, cell): cell for cell in cells}
        for done in as_completed(waiting):
            yield waiting[done], done.result()


def rows_of(cell: Cell) -> list[dict[str, str]]:
    name, p, s = cell
    seed = np.random.SeedSequence(SEED, spawn_key=(CELLS.index(cell),))
    if name in FAMILIES:
        predicted, simulated = diagonal(cell, seed)
    elif name.startswith("random"):
        predicted, simulated = random_features(cell, seed)
    else:
        predicted, simulated = correlated(cell, seed)
    return [
        {
            "family": name,
            "n": str(N),
            "p": str(p),
            "s": str(s),
            "estimator": one.name,
            "predicted": f"{one.predicted:.5f}",
            "simulated": f"{one.simulated:.5f}",
            "standard_error": f"{one.standard_error:.5f}",
            "trials": str(one.trials),
            "standard_errors_apart": f"{one.errors_apart:.2f}",
            "relative_difference": f"{one.relative:.4f}",
            "passed": "yes" if one.passed else "no",
        }
        for one in compare(predicted, simulated)
    ]


def diagonal(cell: Cell, seed: np.random.SeedSequence) -> Numbers:
    name, p, s = cell
    spectrum = family(name, D)
    problem = make_problem(spectrum.eigenvalues, spectrum.coefficients, NOISE, N, p, s)
    return predict_problem(problem).risks(), simulate(problem, trials=TRIALS, seed=seed)


def correlated(cell: Cell, seed: np.random.SeedSequence) -> Numbers:
    name, p, s = cell
    strength = float(name.split()[-1])
    size = 600
    if name.startswith("equal"):
        covariance = (1 - strength) * np.eye(size) + strength
    else:
        covariance = strength ** np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
    signal = np.arange(1, size + 1) ** -0.6
    signal /= np.sqrt(signal @ covariance @ signal)
    problem = make_correlated(covariance, signal, NOISE, N, p, s)
    draws, trials = seed.spawn(2)
    sampled = sampled_risks(problem, draws=200, seed=draws)
    return means(sampled), simulate_correlated(problem, trials=120, seed=trials)


def random_features(cell: Cell, seed: np.random.SeedSequence) -> Numbers:
    name, p, s = cell
    inputs = int(name.split()[3])
    weights_seed, draws, trials = seed.spawn(3)
    weights = draw_weights(p, inputs, np.random.default_rng(weights_seed))
    target = np.ones(inputs) / np.sqrt(inputs)
    problem = random_feature_problem(weights, target, NOISE, N, s)
    sampled = sampled_risks(problem, draws=200, seed=draws)
    simulated = simulate_random_features(problem, weights, target, NOISE, trials=120, seed=trials)
    return means(sampled), simulated


def means(sampled: Mapping[str, Estimate]) -> dict[str, float]:
    return {name: estimate.mean for name, estimate in sampled.items()}


def write(path: Path, rows: list[dict[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    order = {cell: place for place, cell in enumerate(CELLS)}
    rows.sort(key=lambda row: order[row["family"], int(row["p"]), int(row["s"])])
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
