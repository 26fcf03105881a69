"""Run times of two networks, measured in turn so that a drifting machine harms neither."""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import Tensor, nn

from prunella.core.modes import evaluating
from prunella.core.progress import Progress, silent
from prunella.core.results import Latency


def compare_latency(
    before: nn.Module,
    after: nn.Module,
    sample: Tensor,  # (1, ...) one input
    *,
    batches: tuple[int, ...] = (1, 64),
    runs: int = 30,
    warmup: int = 5,
    progress: Progress = silent,
) -> tuple[Latency, ...]:
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
            for _ in range(warmup):
                _seconds(before, inputs)
                _seconds(after, inputs)
            rounds = progress(range(runs), description=f"latency, batch {batch}", total=runs)
            # The order within a pair alternates, so that neither always runs on a warmer cache.
            times = np.array(
                [
                    (_seconds(before, inputs), _seconds(after, inputs))
                    if turn % 2
                    else (_seconds(after, inputs), _seconds(before, inputs))[::-1]
                    for turn in rounds
                ]
            )
            quartiles = np.percentile(times, (25, 50, 75), axis=0).T.tolist()
            results.append(
                Latency(
                    batch=batch,
                    runs=runs,
                    before=(quartiles[0][0], quartiles[0][1], quartiles[0][2]),
                    after=(quartiles[1][0], quartiles[1][1], quartiles[1][2]),
                    speedup=float(np.median(times[:, 0] / times[:, 1])),
                )
            )
    return tuple(results)


def _seconds(model: nn.Module, inputs: Tensor) -> float:
    _synchronise(inputs)
    start = time.perf_counter()
    model(inputs)
    _synchronise(inputs)
    return time.perf_counter() - start


def _synchronise(tensor: Tensor) -> None:
    if tensor.is_cuda:
        torch.cuda.synchronize(tensor.device)
