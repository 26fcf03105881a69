"""Run times of networks, measured in turn so that a drifting machine harms neither."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from prunella.core.errors import InputError
from prunella.core.inputs import Inputs
from prunella.core.modes import evaluating
from prunella.core.progress import Progress, silent
from prunella.core.results import RunTimes

Times = npt.NDArray[np.float64]


def compare_latency(
    before: nn.Module,
    after: nn.Module,
    sample: object,
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
        sample: One input: a tensor (1, ...), a tuple of positional arguments, or a dictionary of
            keyword arguments; its values do not matter. Of several only the first is used.
        batches: Batch sizes.
        runs: Timed runs of each network and batch size.
        warmup: Untimed runs of each before.
        progress: Reports pairs of runs.

    Returns:
        One entry for each batch size: medians and quartiles in seconds per batch, and the median
        of the ratios of neighbouring runs.

    Raises:
        InputError: the sample holds no tensor, or one without a first axis.
    """
    results = []
    first = next(before.parameters(), None)
    given = Inputs.of(sample)
    if not all(tensor.ndim and len(tensor) for tensor in given.tensors):
        raise InputError(
            f"the sample to measure run times on has tensors of shapes {given.words()}; expected "
            "the sample as the first axis of each, for instance (1, 3, 32, 32)."
        )
    device = given.tensors[0].device if first is None else first.device
    with evaluating(before), evaluating(after), torch.inference_mode():
        for batch in batches:
            inputs = given.copies(batch).to(device)
            _synchronise(device)
            times = times_in_turn(
                tuple(partial(_run, model, inputs, device) for model in (before, after)),
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


def _run(model: nn.Module, inputs: Inputs, device: torch.device) -> None:
    inputs.call(model)
    _synchronise(device)


def _seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
