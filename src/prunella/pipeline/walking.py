"""Fixed-sequence testing, on numbers alone: which candidates are tested, in which order, at what.

Theorem and proof: `docs/theory/smallest.md`. The order follows from the number of
candidates and the start; nothing that a test finds can change it, only end it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from prunella.core.progress import Progress, silent
from prunella.core.walks import Step

SPARE = 0.1  # of delta, kept for the candidates above a start that was chosen too low


def sequences(count: int, start: int, delta: float) -> tuple[tuple[float, range], ...]:
    """The order of the tests: (what each of them may spend, places of the candidates).

    From the start downwards; and, where that is not the first candidate, from the first one down to
    the start. What is spent on both together is delta.

    Args:
        count: Number of candidates, from large (0) to small.
        start: Chosen without the certification samples.
        delta: Probability of a wrong claim.
    """
    if start == 0:
        return ((delta, range(count)),)
    return (((1 - SPARE) * delta, range(start, count)), (SPARE * delta, range(start)))


def walk(
    count: int,
    start: int,
    delta: float,
    test: Callable[[int, float], Step],
    *,
    progress: Progress = silent,
) -> tuple[Step, ...]:
    """Test candidates until one fails; above the start only if the start itself fails.

    `last_passed` is the one to choose.

    Args:
        count: Number of candidates, at least 1.
        start: The first to be tested.
        delta: Probability of a wrong claim.
        test: Tests the candidate at a place, spending so much.
        progress: Reports candidates; there are at most so many.
    """
    steps: list[Step] = []
    for spent, places in sequences(count, start, delta):
        steps += _until_failure(
            test, spent, progress(places, description="candidates, at most", total=len(places))
        )
        if any(step.passed for step in steps):
            break
    return tuple(steps)


def _until_failure(
    test: Callable[[int, float], Step], spent: float, places: Iterator[int]
) -> Iterator[Step]:
    for place in places:
        step = test(place, spent)
        yield step
        if not step.passed:
            return


def last_passed(steps: Sequence[Step]) -> Step | None:
    """The step whose candidate is chosen; None if none passed."""
    return next((step for step in reversed(steps) if step.passed), None)


def lowest_promising(count: int, promising: Callable[[int], bool]) -> int:
    """Where to start: the last candidate that looks safe, by bisection, or the first of all.

    Args:
        count: Number of candidates, from large to small.
        promising: Whether a candidate looks safe, from other than certification samples.
    """
    found, beyond = 0, count
    while beyond - found > 1:
        middle = (found + beyond) // 2
        if promising(middle):
            found = middle
        else:
            beyond = middle
    return found


def step_words(step: Step, risk: str, unit: str) -> str:
    """What one test found, in a line."""
    observed, upper = 100 * abs(step.observed), 100 * step.upper
    if risk == "disagreement":
        seen = f"{observed:.2f} % differ, of new samples at most {upper:.2f} %"
    else:
        change = "lost" if step.observed >= 0 else "gained"
        seen = f"{observed:.2f} points {change}, on new samples at most {upper:.2f} lost"
    return f"{100 * step.share:g} % of the {unit}: {seen}: {'passed' if step.passed else 'failed'}"
