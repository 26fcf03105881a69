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
from prunella.repair import Kind, reconstruct, samples_within
from prunella.retrain import reestimate_batchnorm

_SAMPLES = 2_560  # four fifths of them for the equations, one fifth to judge the repair
_MEMORY = 1 << 32  # bytes of activations; where more would be needed, fewer samples are used


def repaired(
    model: nn.Module,
    small: nn.Module,
    plan: Plan,
    samples: Iterable[object],
    *,
    kind: Kind = "lstsq",
    seed: int,
    progress: Progress,
) -> nn.Module:
    """Least squares and batch norm, or batch norm alone where held-out samples favour that.

    Args:
        model: The original; untouched.
        small: Its cut copy; it may be changed.
        plan: By which it was cut.
        samples: For the equations, for the choice and for batch-norm statistics.
        kind: "lstsq", or "mean" for the biases alone.
        seed: Draws the equations.
        progress: Reports batches.
    """
    # A shuffling loader draws from the global generator; the result must depend on the seed alone.
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return _better(model, small, plan, samples, kind=kind, seed=seed, progress=progress)


def _better(
    model: nn.Module,
    small: nn.Module,
    plan: Plan,
    samples: Iterable[object],
    *,
    kind: Kind,
    seed: int,
    progress: Progress,
) -> nn.Module:
    plain = copy.deepcopy(small)
    reestimate_batchnorm(plain, samples, progress=progress)
    inputs = _first_inputs(model, samples)
    count = len(inputs.tensors[0])
    fifth = count // 5
    if fifth == 0:
        return plain
    generator = torch.Generator().manual_seed(seed)
    reconstruct(
        model,
        small,
        plan.graph,
        plan.kept,
        inputs,
        judging=fifth,
        kind=kind,
        generator=generator,
    )
    judge = inputs.samples(slice(count - fifth, None))
    reestimate_batchnorm(small, samples, progress=progress)
    return min((small, plain), key=lambda candidate: _output_error(model, candidate, judge))


def _first_inputs(model: nn.Module, samples: Iterable[object]) -> Inputs:
    """Of the first samples, as many as fit into memory, the largest part that makes one batch.

    That is all of them, unless batches are padded to lengths of their own.
    """
    parts: dict[str, list[Inputs]] = defaultdict(list)
    found: Counter[str] = Counter()
    count = 0
    device = next(model.parameters()).device
    for batch in samples:
        read = read_batch(batch)
        if not count and len(read):
            one = read.inputs.samples(slice(1)).to(device)
            count = min(_SAMPLES, samples_within(model, one, _MEMORY))
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
