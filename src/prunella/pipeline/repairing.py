"""Repair between the cut and retraining: the better of two, judged on held-out samples."""

from __future__ import annotations

import copy
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from typing import get_args

import torch
from torch import Tensor, nn

from prunella.core.batches import read_batch
from prunella.core.errors import DataError, InputError
from prunella.core.inputs import Inputs
from prunella.core.modes import evaluating
from prunella.core.outputs import logits_of
from prunella.core.progress import Progress, silent
from prunella.plans import Plan
from prunella.repair import Kind, Needs, cut_consumers, needs_of, reconstruct
from prunella.retrain import reestimate_batchnorm
from prunella.surgery import check_architecture

# Four fifths of the samples are for the equations, one fifth to judge the repair. The more are for
# layers with one equation to a sample and many inputs.
_LEAST, _MOST = 2_560, 10_240
_MEMORY = 1 << 32  # bytes of activations; where more would be needed, fewer samples are used


def repaired(
    model: nn.Module,
    small: nn.Module,
    plan: Plan,
    samples: Iterable[object],
    *,
    kind: Kind = "lstsq",
    seed: int = 0,
    progress: Progress = silent,
) -> nn.Module:
    """A copy of a cut network in which what reads cut channels makes up for them; no training.

    Weights that read cut channels are solved again by least squares, and batch-norm statistics
    estimated anew; or one of the two alone, or nothing is done, where that is nearer to the
    original's outputs on a fifth of the samples that is held out. Source and reasons:
    `docs/decisions/0019-repair-in-one-run.md`.

    Args:
        model: The original; its outputs are logits or hold them, see `logits_of`.
        small: `plan.apply(model)`.
        plan: By which it was cut.
        samples: Yields inputs, with or without labels, in any form that `read_batch` knows. All
            make the statistics; the first 2,560 make the equations, up to 10,240 where layers with
            many inputs need them, or as many as run within 4 GiB at once.
        kind: "lstsq", or "mean" for biases that make up for the mean of what is gone.
        seed: Draws the samples and positions that make the equations.
        progress: Reports batches.

    Raises:
        InputError: the kind is unknown, a model is not the one of the plan, or the outputs hold no
            logits.
        DataError: there are no samples.
    """
    if kind not in get_args(Kind):
        raise InputError(f"repair {kind!r}: expected one of {', '.join(get_args(Kind))}.")
    check_architecture(model, plan.graph)
    size = sum(parameter.numel() for parameter in small.parameters())
    if size != plan.achieved.params:
        raise InputError(
            f"the small model has {size:,} parameters and the plan leaves {plan.achieved.params:,} "
            "of the original; expected small to be plan.apply(model)."
        )
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
    plain, solved = copy.deepcopy(small), copy.deepcopy(small)
    reestimate_batchnorm(plain, samples, progress=progress)
    inputs, needs = _first_inputs(model, small, cut_consumers(plan.graph, plan.kept), samples)
    count = len(inputs.tensors[0])
    fifth = count // 5
    if fifth == 0:
        return plain
    generator = torch.Generator().manual_seed(seed)
    reconstruct(
        model,
        solved,
        plan.graph,
        plan.kept,
        inputs,
        judging=fifth,
        kind=kind,
        generator=generator,
        at_once=needs.backwards_within(_MEMORY),
    )
    both = copy.deepcopy(solved)
    reestimate_batchnorm(both, samples, progress=progress)
    judge = inputs.samples(slice(count - fifth, None))
    # Of equals the first: a network without batch norm has each of them twice.
    candidates = (both, solved, plain, copy.deepcopy(small))
    expected = _outputs(model, judge)
    if not bool(torch.isfinite(expected).all()):
        raise DataError(
            "the original's outputs are not finite on the samples that the repair is judged on; "
            "look for NaN or infinite numbers in these samples or in its weights."
        )
    return min(candidates, key=lambda candidate: _error(_outputs(candidate, judge), expected))


def _first_inputs(
    model: nn.Module, small: nn.Module, consumers: Collection[str], samples: Iterable[object]
) -> tuple[Inputs, Needs]:
    """Of the first samples, as many as are of use and fit into memory; the largest part that makes
    one batch.

    That is all of them, unless batches are padded to lengths of their own. And what one of them
    needs in the original.
    """
    parts: dict[str, list[Inputs]] = defaultdict(list)
    found: Counter[str] = Counter()
    count, needs = 0, None
    device = next(model.parameters()).device
    for batch in samples:
        read = read_batch(batch)
        if not count and len(read):
            one = read.inputs.samples(slice(1)).to(device)
            useful = min(max(_LEAST, needs_of(small, one, consumers).samples), _MOST)
            needs = needs_of(model, one, ())
            count = min(useful, needs.within(_MEMORY))
        parts[read.inputs.form].append(read.inputs)
        found[read.inputs.form] += len(read)
        if found.total() >= count:
            break
    if needs is None:
        raise DataError("there are no samples to repair with: the loader is empty.")
    ((form, _),) = found.most_common(1)
    return Inputs.together(parts[form]).samples(slice(count)), needs


def _outputs(model: nn.Module, inputs: Inputs) -> Tensor:
    """The logits, float64."""
    moved = inputs.to(next(model.parameters()).device)
    with evaluating(model):
        return logits_of(moved.call(model)).double()


def _error(found: Tensor, expected: Tensor) -> float:
    """Squared distance; infinite if not finite."""
    error = float((found - expected).square().sum())
    return error if error == error else float("inf")
