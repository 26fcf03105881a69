"""Repair between the cut and retraining: the better of two, judged on held-out samples."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from prunella.core.batches import split_batch
from prunella.core.modes import evaluating
from prunella.core.progress import Progress
from prunella.plans import Plan
from prunella.repair import reconstruct
from prunella.retrain import reestimate_batchnorm

_SAMPLES = 640  # four fifths of them for the equations, one fifth to judge the repair


def repaired(
    model: nn.Module,
    small: nn.Module,
    plan: Plan,
    samples: Iterable[object],
    *,
    seed: int,
    progress: Progress,
) -> nn.Module:
    """Least squares and batch norm, or batch norm alone where held-out samples favour that."""
    # A shuffling loader draws from the global generator; the result must depend on the seed alone.
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return _better(model, small, plan, samples, seed=seed, progress=progress)


def _better(
    model: nn.Module,
    small: nn.Module,
    plan: Plan,
    samples: Iterable[object],
    *,
    seed: int,
    progress: Progress,
) -> nn.Module:
    plain = copy.deepcopy(small)
    reestimate_batchnorm(plain, samples, progress=progress)
    inputs = _first_inputs(samples, _SAMPLES)
    solve, judge = inputs[len(inputs) // 5 :], inputs[: len(inputs) // 5]
    if len(judge) == 0:
        return plain
    generator = torch.Generator().manual_seed(seed)
    reconstruct(model, small, plan.graph, plan.kept, solve, generator=generator)
    reestimate_batchnorm(small, samples, progress=progress)
    return min((small, plain), key=lambda candidate: _output_error(model, candidate, judge))


def _first_inputs(samples: Iterable[object], count: int) -> Tensor:
    parts: list[Tensor] = []
    for batch in samples:
        parts.append(split_batch(batch).inputs)
        if sum(map(len, parts)) >= count:
            break
    return torch.cat(parts)[:count]


def _output_error(model: nn.Module, candidate: nn.Module, inputs: Tensor) -> float:
    """Squared distance of the outputs, relative to the original's; infinite if not finite."""
    device = next(model.parameters()).device
    with evaluating(model), evaluating(candidate):
        expected, found = model(inputs.to(device)), candidate(inputs.to(device))
    error = float((found - expected).square().sum() / expected.square().sum())
    return error if error == error else float("inf")
