"""Walks over candidates whose risks are known: how often a wrong claim is made."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest

from prunella.bounds import clopper_pearson_upper
from prunella.core.budgets import Params
from prunella.core.types import Cost
from prunella.core.walks import SHARES, Step
from prunella.pipeline.judging import Answers
from prunella.pipeline.task import Task
from prunella.pipeline.walking import lowest_promising, walk

WALKS = 1000
COUNT = 30
ALPHA = 0.05
DELTA = 0.1  # large, so that a fault shows
SAMPLES = 400
COST = Cost(params=1, macs=1, bytes=4)

# Risks of the candidates from large to small. In each the first that is above ALPHA is so by a
# little, which is where a test errs most.
POPULATIONS = {
    "growing": np.linspace(0.005, 0.12, COUNT),
    "just above from the start": np.full(COUNT, 1.001 * ALPHA),
    "a bad one among good ones": np.where(np.arange(COUNT) == 4, 1.001 * ALPHA, 0.01),
    "up and down": np.where(np.arange(COUNT) % 3 == 2, 1.02 * ALPHA, 0.02),
    "cliff": np.where(np.arange(COUNT) < 12, 0.01, 0.051),
}
# How far the candidates of a draw err together: by the same samples, or each by its own.
TOGETHER = (True, False)


def too_often(wrong: int, delta: float) -> bool:
    return wrong > WALKS * delta + 3 * math.sqrt(WALKS * delta * (1 - delta))


def drawn(risks, generator, together, samples=SAMPLES):
    """Samples on which each candidate differs from the original."""
    if together:
        uniform = generator.random(samples)
        return np.searchsorted(np.sort(uniform), risks)
    return generator.binomial(samples, risks)


@functools.cache
def upper_of(samples, plus, minus, risk, spent):
    return Answers(n=samples, plus=plus, minus=minus).upper(risk, spent)


def walked(
    counts, start, risk="disagreement", *, delta=DELTA, alpha=ALPHA, samples=SAMPLES, count=COUNT,
    tests=None,
):  # fmt: skip
    """Place of the chosen candidate, or None; `counts` are (plus, minus) or plus of each."""

    def test(place, spent):
        if tests is not None:
            tests.append((place, spent))
        plus, minus = counts[place] if risk == "accuracy_drop" else (counts[place], 0)
        upper = upper_of(samples, int(plus), int(minus), risk, spent)
        return Step(
            share=1 - (place + 1) / 100, cost=COST, observed=(plus - minus) / samples,
            upper=upper, delta=spent, passed=upper <= alpha,
        )  # fmt: skip

    passed = [step for step in walk(count, start, delta, test) if step.passed]
    return round(100 * (1 - passed[-1].share)) - 1 if passed else None


@pytest.mark.parametrize("together", TOGETHER)
@pytest.mark.parametrize("population", POPULATIONS)
def test_wrong_claims_are_as_rare_as_promised(population, together):
    risks = POPULATIONS[population]
    generator = np.random.default_rng(1)
    chosen = [walked(drawn(risks, generator, together), 0) for _ in range(WALKS)]
    wrong = sum(place is not None and risks[place] > ALPHA for place in chosen)
    assert not too_often(wrong, DELTA)
    if population == "just above from the start":
        assert wrong > 0.04 * WALKS  # and not much rarer: the test is not blunt


@pytest.mark.parametrize("together", TOGETHER)
@pytest.mark.parametrize("population", POPULATIONS)
def test_the_same_with_a_start_from_other_samples(population, together):
    risks = POPULATIONS[population]
    generator = np.random.default_rng(2)
    wrong = 0
    for _ in range(WALKS):
        other = drawn(risks, generator, together)

        def promising(place, other=other):
            return Answers(n=SAMPLES, plus=int(other[place])).upper("disagreement", 0.2) <= ALPHA

        place = walked(drawn(risks, generator, together), lowest_promising(COUNT, promising))
        wrong += place is not None and risks[place] > ALPHA
    assert not too_often(wrong, DELTA)


@pytest.mark.parametrize("start", [1, 12, 29])
def test_no_start_can_make_it_wrong(start):
    """The worst one: the start is bad by a little, and so is the first candidate of all."""
    risks = np.full(COUNT, 1.001 * ALPHA)
    generator = np.random.default_rng(3)
    chosen = [walked(drawn(risks, generator, False), start) for _ in range(WALKS)]
    assert not too_often(sum(place is not None for place in chosen), DELTA)


def test_the_drop_of_accuracy():
    """Candidates get more and more samples wrong that the original gets right, and some right."""
    plus = np.linspace(0.02, 0.13, COUNT)
    drop = plus - 0.02
    generator = np.random.default_rng(4)
    wrong = 0
    for _ in range(WALKS):
        counts = [generator.multinomial(SAMPLES, (share, 0.02, 0.98 - share))[:2] for share in plus]
        place = walked(counts, 0, "accuracy_drop")
        wrong += place is not None and drop[place] > ALPHA
    assert not too_often(wrong, DELTA)


def test_without_the_end_at_the_first_failure_it_would_be_wrong():
    """The smallest candidate that passes anywhere: this simulation sees the fault."""
    risks = np.full(COUNT, 1.001 * ALPHA)
    generator = np.random.default_rng(5)
    wrong = sum(
        any(clopper_pearson_upper(int(k), SAMPLES, DELTA) <= ALPHA for k in counts)
        for counts in (drawn(risks, generator, False) for _ in range(200))
    )
    assert wrong > 0.5 * 200


def test_going_back_up_without_a_share_of_delta_would_be_wrong():
    risks = np.full(COUNT, 1.001 * ALPHA)
    generator = np.random.default_rng(6)
    wrong = 0
    for _ in range(WALKS):
        counts = drawn(risks, generator, False)
        wrong += (
            walked(counts[20:].repeat(3)[:COUNT], 0) is not None or walked(counts, 0) is not None
        )
    assert too_often(wrong, DELTA)


def test_other_bounds_hold_for_the_chosen_one():
    """Each is made at delta / COUNT; the choice favours what looks good on these samples."""
    risks = np.full(COUNT, 0.03)
    generator = np.random.default_rng(7)
    wrong = naive = 0
    for _ in range(WALKS):
        counts = drawn(risks, generator, False)
        place = int(np.argmin(counts))  # as partial a choice as there can be
        wrong += clopper_pearson_upper(int(counts[place]), SAMPLES, DELTA / COUNT) < risks[place]
        naive += clopper_pearson_upper(int(counts[place]), SAMPLES, DELTA) < risks[place]
    assert not too_often(wrong, DELTA)
    assert too_often(naive, DELTA)


@pytest.mark.parametrize(("samples", "other"), [(2000, 2000), (2000, 5000), (8000, 5000)])
def test_a_good_start_saves_tests_and_loses_little(samples, other):
    """At the usual delta, with the margin that `smallest` takes."""
    risks = np.linspace(0.001, 0.08, 40)
    generator = np.random.default_rng(8)
    task = Task.checked(risk="disagreement", alpha=0.03, delta=0.01, unit=Params, shares=SHARES)
    tests, fewer, plain, started = [], [], [], []
    failed = 0
    for _ in range(100):
        found = drawn(risks, generator, True, other)
        counts = drawn(risks, generator, True, samples)

        def promising(place, found=found):
            return task.promising(Answers(n=other, plus=int(found[place])), samples)

        def run(start, tests, counts=counts):
            return walked(
                counts, start, delta=0.01, tests=tests, alpha=0.03, samples=samples, count=40
            )

        start = lowest_promising(40, promising)
        plain.append(run(0, tests))
        before = len(fewer)
        started.append(run(start, fewer))
        failed += start > 0 and fewer[before + 1 : before + 2] == [(0, pytest.approx(0.001))]
    assert len(fewer) < 0.7 * len(tests)
    assert failed <= 5  # of 100: starts from which the walk had to go back up
    assert np.mean(started) > np.mean(plain) - 0.3
