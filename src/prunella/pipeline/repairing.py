"""Repair between the cut and retraining: the better of two, judged on held-out samples."""

from __future__ import annotations

import copy
from collections import Counter, defaultdict
from collections.abc import Iterable

import torch
from torch import nn

from prunella.core.batches import read_batch
from prunella.core.inputs import Inputs
from prunella.core.modes import evaluating
from prunella.core.outputs import logits_of
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
    fifth = len(inputs.tensors[0]) // 5
    if fifth == 0:
        return plain
    solve, judge = inputs.samples(slice(fifth, None)), inputs.samples(slice(fifth))
    generator = torch.Generator().manual_seed(seed)
    reconstruct(model, small, plan.graph, plan.kept, solve, generator=generator)
    reestimate_batchnorm(small, samples, progress=progress)
    return min((small, plain), key=lambda candidate: _output_error(model, candidate, judge))


def _first_inputs(samples: Iterable[object], count: int) -> Inputs:
    """Of about the first `count` samples the largest part that makes one batch.

    That is all of them, unless batches are padded to lengths of their own.
    """
    parts: dict[str, list[Inputs]] = defaultdict(list)
    found: Counter[str] = Counter()
    for batch in samples:
        read = read_batch(batch)
        parts[read.inputs.form].append(read.inputs)
        found[read.inputs.form] += len(read)
        if found.total() >= count:
            break
    ((form, _),) = found.most_common(1)
    return Inputs.together(parts[form]).samples(slice(count))


def _output_error(model: nn.Module, candidate: nn.Module, inputs: Inputs) -> float:
    """Squared distance of the logits, relative to the original's; infinite if not finite."""
    moved = inputs.to(next(model.parameters()).device)
    with evaluating(model), evaluating(candidate):
        expected, found = logits_of(moved.call(model)), logits_of(moved.call(candidate))
    error = float((found - expected).square().sum() / expected.square().sum())
    return error if error == error else float("inf")
