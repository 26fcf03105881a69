"""Simulate how often each bound is wrong and how wide it is; writes a table.

Run from the root of the repository, about a minute on one core:

    python benchmarks/bounds_coverage.py --out docs/theory/bounds-coverage.csv
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import stats

from prunella.bounds import (
    betting_upper,
    clopper_pearson_difference_upper,
    clopper_pearson_upper,
    hoeffding_upper,
    paired_difference_upper,
    tolerance_limit,
)

DELTA = 0.01
DRAWS = 2000
Row = dict[str, object]
PairedBound = Callable[[np.ndarray, float], float]


def row(bound: str, population: str, n: int, truth: float, uppers: np.ndarray) -> Row:
    # values drawn in floating point may miss the truth by a rounding error
    wrong = float(np.mean(uppers < truth - 1e-12))
    return {
        "bound": bound,
        "population": population,
        "n": n,
        "delta": DELTA,
        "draws": len(uppers),
        "wrong": f"{wrong:.4f}",
        "allowed": f"{DELTA + 3 * math.sqrt(DELTA * (1 - DELTA) / len(uppers)):.4f}",
        "truth": f"{truth:.4f}",
        "mean_bound": f"{uppers.mean():.4f}",
    }


def disagreement_rows(rng: np.random.Generator) -> list[Row]:
    rows = []
    for p in (0.002, 0.01, 0.02, 0.1):
        for n in (200, 2000, 5000):
            counts = rng.binomial(n, p, size=DRAWS)
            uppers = np.array([clopper_pearson_upper(int(k), n, DELTA) for k in counts])
            rows.append(row("clopper_pearson_upper", f"risk {p:g}", n, p, uppers))
    return rows


def signs(values: np.ndarray) -> tuple[int, int]:
    return int((values > 0).sum()), int((values < 0).sum())


PAIRED: dict[str, PairedBound] = {
    "paired_difference_upper": lambda v, d: paired_difference_upper(*signs(v), len(v), d),
    "clopper_pearson_difference_upper": lambda v, d: clopper_pearson_difference_upper(
        *signs(v), len(v), d
    ),
    "betting_upper": lambda v, d: betting_upper(v, d, -1, 1),
    "hoeffding_upper": lambda v, d: hoeffding_upper(float(v.mean()), len(v), d, -1, 1),
    "normal approximation (not valid)": lambda v, d: float(
        v.mean() + stats.norm.ppf(1 - d) * v.std() / math.sqrt(len(v))
    ),
}


def drop_rows(rng: np.random.Generator) -> list[Row]:
    rows = []
    settings = [
        (0.002, 0.0, 2000),
        (0.2, 0.1, 100),
        (0.05, 0.02, 200),
        (0.04, 0.02, 500),
        (0.02, 0.0, 2000),
        (0.04, 0.02, 2000),
        (0.05, 0.05, 2000),
        (0.0115, 0.0085, 5000),
        (0.02, 0.03, 5000),
    ]
    for up, down, n in settings:
        law = [up, down, 1 - up - down]
        samples = [rng.choice([1.0, -1.0, 0.0], p=law, size=n) for _ in range(DRAWS)]
        for name, bound in PAIRED.items():
            uppers = np.array([bound(values, DELTA) for values in samples])
            rows.append(row(name, f"plus {up:g} minus {down:g}", n, up - down, uppers))
    return rows


def quantile_rows(rng: np.random.Generator) -> list[Row]:
    alpha = 0.05
    truth = float(stats.lognorm(1).ppf(1 - alpha))
    rows = []
    for n in (100, 500, 2000, 5000):
        samples = rng.lognormal(size=(DRAWS, n))
        limits = [tolerance_limit(values, alpha, DELTA) for values in samples]
        found = np.array([limit for limit in limits if limit is not None])
        rows.append(row("tolerance_limit", "log-normal alpha 0.05", n, truth, found))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/theory/bounds-coverage.csv"))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    rows = disagreement_rows(rng) + drop_rows(rng) + quantile_rows(rng)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with arguments.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"{len(rows)} rows in {arguments.out}")


if __name__ == "__main__":
    main()
