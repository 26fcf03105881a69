"""Run times of networks, measured in turn so that a drifting machine harms neither."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from prunella.core.modes import evaluating
from prunella.core.progress import Progress, silent
from prunella.core.results import RunTimes

Times = npt.NDArray[np.float64]


def compare_latency(
    before: nn.Module,
    after: nn.Module,
    sample: Tensor,  # (1, ...) one input
    *,
    batches: tuple[int, ...] = (1, 64),
    runs: int = 30,
    warmup: int = 5,
    progress: Progress = silent,
) -> tuple[RunTimes, ...]:
    """Time both networks on batches of copies of `sample`, alternating run by run.

    Args:
        before: The original.
        after: The small network.
        sample: One input; its values do not matter.
        batches: Batch sizes.
        runs: Timed runs of each network and batch size.
        warmup: Untimed runs of each before.
        progress: Reports pairs of runs.

    Returns:
        One entry for each batch size: medians and quartiles in seconds per batch, and the median
        of the ratios of neighbouring runs.
    """
    results = []
    first = next(before.parameters(), None)
    device = sample.device if first is None else first.device
    with evaluating(before), evaluating(after), torch.inference_mode():
        for batch in batches:
            inputs = sample.expand(batch, *sample.shape[1:]).contiguous().to(device)
            _synchronise(inputs)
            times = times_in_turn(
                (partial(_run, before, inputs), partial(_run, after, inputs)),
                runs=runs,
                warmup=warmup,
                progress=partial(progress, description=f"latency, batch {batch}", total=runs),
            )
            results.append(as_latency(times, batch=batch))
    return tuple(results)


def times_in_turn(
    functions: Sequence[Callable[[], object]],
    *,
    runs: int,
    warmup: int,
    progress: Callable[[range], Iterable[int]],
) -> Times:
    """Seconds that each call of each function took, shape (runs, functions).

    The order within a round alternates, so that none always runs on a warmer cache.

    Args:
        functions: Return when their work is done.
        runs: Timed calls of each.
        warmup: Untimed calls of each before.
        progress: Wraps the rounds.
    """
    for _ in range(warmup):
        for function in functions:
            function()
    times = np.empty((runs, len(functions)))
    order = range(len(functions))
    for turn in progress(range(runs)):
        for index in order if turn % 2 else reversed(order):
            times[turn, index] = _seconds(functions[index])
    return times


def quartiles(times: Times) -> tuple[float, float, float]:
    """First quartile, median and third quartile of times (runs,)."""
    first, median, third = np.percentile(times, (25, 50, 75)).tolist()
    return first, median, third


def as_latency(
    times: Times,  # (runs, 2) seconds per batch of the original and of the small network
    *,
    batch: int,
) -> RunTimes:
    """Medians, quartiles and speed-up of two networks timed in turn."""
    return RunTimes(
        batch=batch,
        runs=len(times),
        before=quartiles(times[:, 0]),
        after=quartiles(times[:, 1]),
        speedup=float(np.median(times[:, 0] / times[:, 1])),
    )


def _run(model: nn.Module, inputs: Tensor) -> None:
    model(inputs)
    _synchronise(inputs)


def _seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def _synchronise(tensor: Tensor) -> None:
    if tensor.is_cuda:
        torch.cuda.synchronize(tensor.device)
