"""Simulate how often a walk over candidates makes a wrong claim; writes a table.

Run from the root of the repository, a minute on one core:

    python benchmarks/walks.py --out docs/theory/walks.csv

Each walk draws new certification and selection samples from a population in which the risk of
every candidate is known, and the candidates differ from the original on samples of their own.
"""

from __future__ import annotations

import argparse
import csv
import functools
import math
from pathlib import Path

import numpy as np

from prunella.core.types import Cost
from prunella.core.walks import Step
from prunella.pipeline.judging import Answers
from prunella.pipeline.walking import lowest_promising, walk

COUNT, ALPHA, DELTA, SAMPLES, WALKS = 40, 0.02, 0.01, 2000, 5000
COST = Cost(params=1, macs=1, bytes=4)
PLACES = np.arange(COUNT)
POPULATIONS = {
    "risk grows from 0.1 % to 6 %": np.linspace(0.001, 0.06, COUNT),
    "all a little above 2 %": np.full(COUNT, 1.001 * ALPHA),
    "the fifth a little above 2 %, the others 0.5 %": np.where(PLACES == 4, 1.001 * ALPHA, 0.005),
    "every third a little above 2 %, the others 0.8 %": np.where(
        PLACES % 3 == 2, 1.001 * ALPHA, 0.008
    ),
}


@functools.cache
def upper(count: int, delta: float) -> float:
    return Answers(n=SAMPLES, plus=count).upper("disagreement", delta)


def chosen(counts: np.ndarray, start: int) -> tuple[int | None, int]:
    """Place of the chosen candidate, and number of tests."""

    def test(place: int, spent: float) -> Step:
        bound = upper(int(counts[place]), spent)
        return Step(
            share=1 - (place + 1) / 100, cost=COST, observed=0, upper=bound, delta=spent,
            passed=bound <= ALPHA,
        )  # fmt: skip

    steps = walk(COUNT, start, DELTA, test)
    passed = [step for step in steps if step.passed]
    return (round(100 * (1 - passed[-1].share)) - 1 if passed else None), len(steps)


def simulated(name: str, risks: np.ndarray, rng: np.random.Generator) -> dict[str, object]:
    wrong = {"plain": 0, "with a start": 0, "smallest that passes": 0}
    tests = {"plain": 0, "with a start": 0}
    for _ in range(WALKS):
        counts, other = rng.binomial(SAMPLES, risks), rng.binomial(SAMPLES, risks)
        start = lowest_promising(
            COUNT, lambda place, other=other: upper(int(other[place]), DELTA**3) <= ALPHA
        )
        for kind, begin in (("plain", 0), ("with a start", start)):
            place, number = chosen(counts, begin)
            wrong[kind] += place is not None and risks[place] > ALPHA
            tests[kind] += number
        passing = [p for p in range(COUNT) if upper(int(counts[p]), DELTA) <= ALPHA]
        wrong["smallest that passes"] += bool(passing) and risks[passing[-1]] > ALPHA
    return {
        "risks": name,
        "walks": WALKS,
        "delta": DELTA,
        "allowed": f"{DELTA + 3 * math.sqrt(DELTA * (1 - DELTA) / WALKS):.4f}",
        **{f"wrong, {kind}": f"{number / WALKS:.4f}" for kind, number in wrong.items()},
        **{f"tests, {kind}": f"{number / WALKS:.2f}" for kind, number in tests.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    path = parser.parse_args().out
    rng = np.random.default_rng(0)
    rows = [simulated(name, risks, rng) for name, risks in POPULATIONS.items()]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
