"""Simulate how often each bound is wrong and how wide it is; writes a table.

Run from the root of the repository, some two minutes on one core:

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
    bonferroni,
    clopper_pearson_difference_upper,
    clopper_pearson_p_value,
    clopper_pearson_upper,
    empirical_bernstein_upper,
    fixed_sequence,
    hoeffding_bentkus_upper,
    hoeffding_upper,
    holm,
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


MEANS: dict[str, PairedBound] = {
    "hoeffding_bentkus_upper": lambda v, d: hoeffding_bentkus_upper(
        float(v.mean()), len(v), d, 0, 1
    ),
    "betting_upper": lambda v, d: betting_upper(v, d, 0, 1),
    "empirical_bernstein_upper": lambda v, d: empirical_bernstein_upper(v, d, 0, 1),
    "hoeffding_upper": lambda v, d: hoeffding_upper(float(v.mean()), len(v), d, 0, 1),
}


def mean_rows(rng: np.random.Generator) -> list[Row]:
    """Losses in [0, 1]: rare events, two values, skewed, and many ties."""
    populations = {
        "rare 0.002": (0.002, lambda n: (rng.random(n) < 0.002) * 1.0),
        "rare 0.01": (0.01, lambda n: (rng.random(n) < 0.01) * 1.0),
        "0.3 or 0.6": (0.45, lambda n: np.where(rng.random(n) < 0.5, 0.6, 0.3)),
        "beta 0.05 2": (0.05 / 2.05, lambda n: rng.beta(0.05, 2.0, n)),
        "beta 2 0.05": (2 / 2.05, lambda n: rng.beta(2.0, 0.05, n)),
        "eighths": (0.06, lambda n: rng.binomial(8, 0.06, n) / 8),
    }
    rows = []
    for name, (truth, draw) in populations.items():
        for n in (20, 300, 5000):
            samples = [draw(n) for _ in range(DRAWS)]
            for bound, upper in MEANS.items():
                found = np.array([upper(values, DELTA) for values in samples])
                rows.append(row(bound, name, n, truth, found))
    return rows


def rejection_row(rule: str, hypothesis: str, n: int, wrong: np.ndarray) -> Row:
    """How often a true hypothesis, or any of several, was rejected."""
    found = row(rule, hypothesis, n, 0.0, np.where(wrong, -1.0, 0.0))
    return {**found, "truth": "", "mean_bound": ""}


def family_rows(rng: np.random.Generator) -> list[Row]:
    """30 candidates judged on the same 500 samples; the risks of all but the first 3 are too large.

    Each candidate is wrong on a sample if a number is below its risk; with probability 0.5 that
    number is the same for all candidates.
    """
    n, level = 500, 0.05
    risks = np.where(np.arange(30) < 3, 0.01, level + 1e-6)
    table = np.array([clopper_pearson_p_value(k, n, level) for k in range(n + 1)])
    wrong: dict[str, list[bool]] = {}
    for _ in range(DRAWS):
        own, common = rng.random((n, 30)), rng.random((n, 1))
        losses = np.where(rng.random((n, 30)) < 0.5, common, own) < risks
        p_values = table[losses.sum(0)]
        for rule in (fixed_sequence, bonferroni, holm):
            wrong.setdefault(rule.__name__, []).append(bool(rule(p_values, DELTA)[3:].any()))
        each = "every candidate at delta (not valid)"
        wrong.setdefault(each, []).append(bool((p_values[3:] <= DELTA).any()))
    name = "30 candidates, 27 with risk 0.05"
    return [rejection_row(rule, name, n, np.array(found)) for rule, found in wrong.items()]


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
    rows = [
        *disagreement_rows(rng),
        *drop_rows(rng),
        *quantile_rows(rng),
        *mean_rows(rng),
        *family_rows(rng),
    ]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    with arguments.out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"{len(rows)} rows in {arguments.out}")


if __name__ == "__main__":
    main()
