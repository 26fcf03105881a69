"""How often a choice among candidates is wrong, over draws from a population known in full.

Tests, their order and the start are those of `prunella.pipeline`; only the two rules that are not
valid, shown beside them, are made here.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from _validity import SAMPLINGS, Counts, Family, Row, allowed, counted
from prunella.core.budgets import Params
from prunella.core.types import Cost
from prunella.core.walks import RISKS, Risk, Step
from prunella.pipeline.judging import Answers
from prunella.pipeline.task import Task
from prunella.pipeline.walking import last_passed, lowest_promising, walk

LEAST = 0.004  # no smaller level: with 2,000 samples hardly anything could pass
_LEVELS = 4
_NO_COST = Cost(params=1, macs=1, bytes=1)


@functools.cache
def _upper(plus: int, minus: int, n: int, risk: Risk, delta: float) -> float:
    return Answers(n=n, plus=plus, minus=minus).upper(risk, delta)


class Remembered(Answers):
    """Answers whose bound is computed once for each pair of counts."""

    __slots__ = ()

    def upper(self, risk: Risk, delta: float) -> float:
        """As of `Answers`."""
        return _upper(self.plus, self.minus, self.n, risk, delta)


Draw = list[Answers]  # of the candidates, in the order of the tests


def answers(
    counts: Counts,  # (draws, m, 2)
    samples: int,
) -> list[Draw]:
    @functools.cache
    def once(plus: int, minus: int) -> Answers:
        return Remembered(n=samples, plus=plus, minus=minus)

    return [[once(*pair) for pair in draw] for draw in counts.tolist()]


def chosen(task: Task, found: Sequence[Answers], start: int) -> int | None:
    """Place of the candidate that the walk chooses."""
    places: list[int] = []

    def test(place: int, spent: float) -> Step:
        places.append(place)
        return task.tested(found[place], share=1.0, cost=_NO_COST, spent=spent)

    steps = walk(len(found), start, task.delta, test)
    last = last_passed(steps)
    if last is None:
        return None
    return next(place for place, step in zip(places, steps, strict=True) if step is last)


def start_of(task: Task, other: Sequence[Answers], samples: int) -> int:
    """Where to begin, by selection samples."""
    return lowest_promising(len(other), lambda place: task.promising(other[place], samples))


def without_stop(task: Task, found: Sequence[Answers]) -> int | None:
    """NOT VALID: the smallest candidate whose bound is at most the level, whatever the others."""
    for place in reversed(range(len(found))):
        # a bound is never below the estimate, so it need not be computed for the others
        if found[place].observed <= task.alpha and (
            found[place].upper(task.risk, task.delta) <= task.alpha
        ):
            return place
    return None


def by_estimate(task: Task, found: Sequence[Answers]) -> int | None:
    """NOT VALID: the smallest candidate whose observed risk is at most the level."""
    passing = [place for place, each in enumerate(found) if each.observed <= task.alpha]
    return passing[-1] if passing else None


def places_of_levels(family: Family, risks: NDArray[np.int64]) -> list[int]:
    """Candidates just below whose true risk a level is put, which is where a test errs most.

    Of sizes: some, evenly chosen among those whose risk is above that of all larger ones. Of equal
    sizes: the best, so that no candidate is good enough; and the first.

    Args:
        family: The m candidates.
        risks: True risks as numbers of samples, (m,).
    """
    if len(set(family.params.tolist())) == 1:
        return [int(risks.argmin()), 0]
    before = np.concatenate(([-1], np.maximum.accumulate(risks)[:-1]))
    higher = np.flatnonzero((risks > before) & (risks >= LEAST * len(family.labels)))
    return higher[np.linspace(0, len(higher) - 1, _LEVELS).round().astype(int)].tolist()


_Outcome = tuple[bool, int | None]  # whether a draw is wrong, and what was chosen
OTHER: dict[Risk, Risk] = {"disagreement": "accuracy_drop", "accuracy_drop": "disagreement"}
RULES = {  # and whether they are valid
    "from the largest": True,
    "from a start": True,
    "other bound of the chosen": True,
    "bound without a stop": False,
    "estimate": False,
}


def _of_draw(
    task: Task,
    found: Sequence[Answers],
    others: Sequence[Answers],
    selection: Sequence[Answers],
    risks: dict[Risk, NDArray[np.float64]],
) -> dict[str, _Outcome]:
    """What each rule makes of one draw; `others` are the answers for the other risk."""
    own = risks[task.risk]

    def judged(place: int | None) -> _Outcome:
        return place is not None and bool(own[place] > task.alpha), place

    largest = chosen(task, found, 0)
    second = OTHER[task.risk]
    upper = 1.0 if largest is None else others[largest].upper(second, task.delta / len(found))
    start = start_of(task, selection, found[0].n)
    return {
        "from the largest": judged(largest),
        "from a start": judged(chosen(task, found, start)),
        "other bound of the chosen": (
            largest is not None and bool(upper < risks[second][largest] - 1e-12),
            largest,
        ),
        "bound without a stop": judged(without_stop(task, found)),
        "estimate": judged(by_estimate(task, found)),
    }


def walk_rows(
    family: Family, *, deltas: Sequence[float], samples: int, draws: int, seed: int
) -> Iterator[Row]:
    """How often each rule chooses a candidate above the level, for every setting."""
    population = len(family.labels)
    events = np.concatenate([family.events(risk) for risk in RISKS], axis=1)
    true = _by_risk(events.sum(0)[None].astype(np.int64))
    totals = {risk: counts[0, :, 0] - counts[0, :, 1] for risk, counts in true.items()}
    risks = {risk: total / population for risk, total in totals.items()}
    draws_of = {}
    for number, sampling in enumerate(SAMPLINGS):
        generator = np.random.default_rng((seed, number))
        tests, selection = (
            {
                risk: answers(counts, samples)
                for risk, counts in _by_risk(
                    counted(events, generator, samples, draws, sampling)
                ).items()
            }
            for _ in range(2)
        )
        draws_of[sampling] = tests, selection
    for risk in RISKS:
        for place in places_of_levels(family, totals[risk]):
            level = (int(totals[risk][place]) - 0.5) / population  # half a sample below
            for delta in deltas:
                task = Task.checked(risk=risk, alpha=level, delta=delta, unit=Params, shares=(0.5,))
                found = {
                    sampling: _tally(family, task, *pair, risks)
                    for sampling, pair in draws_of.items()
                }
                yield from _rows(family, task, place, risks[risk], found, draws)


def _by_risk(counts: Counts) -> dict[Risk, Counts]:
    return dict(zip(RISKS, np.split(counts, len(RISKS), axis=1), strict=True))


def _tally(
    family: Family,
    task: Task,
    tests: dict[Risk, list[Draw]],
    selection: dict[Risk, list[Draw]],
    risks: dict[Risk, NDArray[np.float64]],
) -> dict[str, tuple[float, float]]:
    """For each rule the share of wrong draws and the mean share of the parameters kept."""
    wrong, kept = dict.fromkeys(RULES, 0), dict.fromkeys(RULES, 0.0)
    of_draws = zip(tests[task.risk], tests[OTHER[task.risk]], selection[task.risk], strict=True)
    for found, others, before in of_draws:
        for rule, (bad, place) in _of_draw(task, found, others, before, risks).items():
            wrong[rule] += bad
            kept[rule] += 1.0 if place is None else float(family.params[place])
    draws = len(tests[task.risk])
    return {rule: (wrong[rule] / draws, kept[rule] / draws) for rule in RULES}


def _rows(
    family: Family,
    task: Task,
    place: int,
    risks: NDArray[np.float64],
    found: dict[str, dict[str, tuple[float, float]]],
    draws: int,
) -> Iterator[Row]:
    too_high = int(np.argmax(risks > task.alpha))
    best = float(family.params[too_high - 1]) if too_high else 1.0
    first, second = (found[sampling] for sampling in SAMPLINGS)
    for rule, valid in RULES.items():
        yield {
            "part": "walk",
            "candidates": family.name,
            "quantity": task.risk,
            "rule": rule,
            "valid": "yes" if valid else "no",
            "delta": task.delta,
            "level": f"{task.alpha:.5f}",
            "below": place + 1,
            "draws": draws,
            "wrong": f"{first[rule][0]:.4f}",
            "allowed": f"{allowed(task.delta, draws):.4f}",
            "wrong_without_replacement": f"{second[rule][0]:.4f}",
            "truth": f"{best:.4f}",
            "mean": f"{first[rule][1]:.4f}",
        }
