"""Repair of the weights that read cut channels, in the order in which they run.

Each consumer's weights are solved again so that its sums come as near as possible to those of the
original, on the same samples and positions; see `equations`. Each is fed by the network as
repaired so far, so that later layers make up for what earlier ones could not. Both networks
therefore run once, with all samples together. The original runs once more, in parts and backwards,
to find the sums that nothing depends on; see `idle`.

Source: He, Zhang, Sun, "Channel pruning for accelerating very deep neural networks", ICCV 2017,
section 3.1 (reconstruction after selection), with a ridge towards the unrepaired weights. Where
these estimated the sums without bias (drawn channels), the new ones do not:
docs/theory/sampling.md, section 5.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter
from typing import Any, Literal

import torch
from torch import Tensor, nn

from prunella.core.errors import InputError
from prunella.core.inputs import Inputs
from prunella.core.modes import attention_in_parts, evaluating, full_precision
from prunella.core.positions import complement, removed_positions
from prunella.core.types import ChannelGraph
from prunella.ops import (
    CallWatcher,
    Contraction,
    Places,
    StoredTensors,
    contraction_of,
    has_plain_rows,
    input_view,
    output_view,
    random_places,
    rows_at,
)
from prunella.repair.equations import Equations, Solution, Wanted
from prunella.repair.idle import Consumer, Threshold, idle_sums

Kind = Literal["mean", "lstsq"]
RIDGES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
_ROWS = 1 << 15  # equations for each consumer: many times the unknowns of common layers
_JUDGED = 1 << 13  # rows that judge them
_BLOCK = 1 << 12  # rows in memory at once
_STEPS = 10  # at most, where sums may stray
_ENOUGH = 0.998  # of the error must be left at most by a step, or it was the last


def reconstruct(
    original: nn.Module,
    small: nn.Module,
    graph: ChannelGraph,
    kept: Mapping[str, Tensor],  # group name -> (kept,) int64
    inputs: object,
    *,
    judging: int = 0,
    generator: torch.Generator,
    kind: Kind = "lstsq",
    ridges: Sequence[float] = RIDGES,
    at_once: int = 64,
) -> tuple[str, ...]:
    """Solve the consumers of pruned channels in `small` again, in place.

    Both networks run on all inputs together, so their number bounds the memory: that of one
    layer's activations, and of at most 40,960 rows of targets for each consumer. What the consumer
    that is being solved reads in these rows comes on top, up to 2^26 numbers; all of it, twice,
    where it has more inputs than there are rows.

    Args:
        original: Untouched.
        small: Its cut copy.
        graph: The graph of the original.
        kept: The units that `small` has.
        inputs: Calibration samples in one batch: a tensor (N, ...), a tuple of positional
            arguments, or a dictionary of keyword arguments.
        judging: How many of the samples, the last ones, make no equations, but choose the ridge
            of each consumer and whether it is repaired at all. With 0 the first ridge is taken.
        generator: Draws the rows (samples and positions) that make the equations.
        kind: "lstsq", or "mean" for biases alone.
        ridges: Weights of staying near the unrepaired weights, relative to the inputs' mean
            square.
        at_once: Samples in one backward pass, which finds the sums that nothing depends on.

    Returns:
        Names of the weights whose consumers changed; those that are used twice, grouped or
        transposed keep their values, and so do those with a bias that is computed.

    Raises:
        InputError: more samples are to judge than there are, or all.
    """
    removed = removed_positions(graph, kept)
    wanted = cut_consumers(graph, kept)
    device = next(original.parameters()).device
    given = Inputs.of(inputs).to(device)
    samples = len(given.tensors[0])
    if not 0 <= judging < samples:
        raise InputError(
            f"{judging} of {samples} samples are to judge the repair; expected fewer than all."
        )
    targets = _Targets(original, wanted, removed, judging / samples, generator)
    with evaluating(original), full_precision(device), attention_in_parts(), targets:
        given.call(original)
    once = {name: found for name, found in targets.found.items() if found is not None}
    if kind == "lstsq" and judging:  # without judges nothing says when to stop improving
        once = _with_slack(original, once, given, generator, at_once)
    solver = _Solver(small, once, ridges if kind == "lstsq" else ())
    with evaluating(small), full_precision(device), attention_in_parts(), solver:
        given.call(small)
    return tuple(solver.solved)


def cut_consumers(graph: ChannelGraph, kept: Mapping[str, Tensor]) -> set[str]:
    """Names of the weights that read channels of which some are gone."""
    return {
        member.tensor
        for group in graph.prunable
        if len(kept[group.name]) < group.size
        for member in group.members
        if member.role == "consumer"
    }


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Rows:
    """What one consumer of the original gave at chosen samples and positions.

    Attributes:
        places: Samples and positions.
        wanted: Of the kept outputs.
    """

    places: Places
    wanted: Wanted

    def __len__(self) -> int:
        return len(self.wanted.values)

    def blocks(self, view: Tensor) -> Iterator[tuple[Tensor, Wanted]]:
        """What the small network's consumer reads there, and what it should give, in blocks."""
        for start in range(0, len(self), _BLOCK):
            block = slice(start, start + _BLOCK)
            yield rows_at(view, tuple(axis[block] for axis in self.places)), self.wanted.part(block)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Target:
    """A consumer of the original.

    Attributes:
        solving: Rows that make equations.
        judging: Rows that judge what was found.
        stays: Its kept outputs; None for all.
        in_axis: Of its weight.
        first: Length of the first axis of what it gave.
    """

    solving: _Rows
    judging: _Rows
    stays: Tensor | None
    in_axis: int
    first: int

    @property
    def places(self) -> Places:
        """Those of all rows."""
        both = zip(self.solving.places, self.judging.places, strict=True)
        return tuple(torch.cat(pair) for pair in both)

    def with_slack(self, idle: Tensor) -> _Target:
        """Sums that the outputs do not depend on may stray; idle: (rows, outputs), of all rows."""
        if self.stays is not None:
            idle = idle.index_select(1, self.stays.to(idle.device))
        solving, judging = idle.split([len(self.solving), len(self.judging)])
        threshold = Threshold.of(self.solving.wanted.values, solving)
        return replace(
            self,
            solving=_spared(self.solving, solving, threshold),
            judging=_spared(self.judging, judging, threshold),
        )


def _spared(rows: _Rows, idle: Tensor, threshold: Threshold) -> _Rows:
    return replace(rows, wanted=threshold.wanted(rows.wanted.values, idle))


def _with_slack(
    original: nn.Module,
    targets: Mapping[str, _Target],
    inputs: Inputs,
    generator: torch.Generator,
    at_once: int,
) -> dict[str, _Target]:
    """The same targets, where sums that the outputs do not depend on may stray."""
    consumers = {
        name: Consumer(in_axis=target.in_axis, first=target.first, places=target.places)
        for name, target in targets.items()
    }
    idle = idle_sums(original, consumers, inputs, generator, at_once=at_once)
    return {
        name: target.with_slack(idle[name]) if name in idle and bool(idle[name].any()) else target
        for name, target in targets.items()
    }


class _Targets(CallWatcher):
    """Notes the original's sums at random rows: those that make equations, and those that judge."""

    def __init__(
        self,
        model: nn.Module,
        wanted: set[str],
        removed: Mapping[str, Mapping[int, Tensor]],
        judging: float,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.stored = StoredTensors(model)
        self.wanted = wanted
        self.removed = removed
        self.judging = judging
        self.generator = generator
        self.found: dict[str, _Target | None] = {}

    def answer(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        out = func(*args, **kwargs)
        call = contraction_of(func, args, self.stored)
        if call is not None and call.name in self.wanted:
            again = call.name in self.found
            solvable = _is_solvable(call, self.stored, kwargs)
            self.found[call.name] = self._both(call, out) if solvable and not again else None
        return out

    def _both(self, call: Contraction, out: Tensor) -> _Target:
        view = output_view(call, out)
        # Where a call has flattened samples and steps, the last rows need not be the last samples:
        # then other steps of the same samples judge.
        first, *rest = view.shape[:-1]
        held_out = round(first * self.judging)
        solving = random_places((first - held_out, *rest), _ROWS, self.generator)
        samples, *positions = random_places((held_out, *rest), _JUDGED, self.generator)
        gone = self.removed.get(call.name, {}).get(call.out_axis)
        stays = None if gone is None else complement(gone, view.shape[-1])
        return _Target(
            solving=_rows(view, solving, stays),
            judging=_rows(view, (samples + first - held_out, *positions), stays),
            stays=stays,
            in_axis=call.in_axis,
            first=first,
        )


def _is_solvable(call: Contraction, stored: StoredTensors, kwargs: Mapping[str, Any]) -> bool:
    """Whether a call gives its rows times a whole weight, and a bias that can be changed."""
    bias = call.bias is None or (call.bias.ndim == 1 and stored.holds(call.bias))
    factors = all(kwargs.get(name, 1) == 1 for name in ("alpha", "beta"))  # of addmm
    return has_plain_rows(call, stored) and bias and factors


def _rows(view: Tensor, places: Places, stays: Tensor | None) -> _Rows:
    values = rows_at(view, places)
    if stays is not None:
        values = values.index_select(1, stays.to(values.device))
    return _Rows(places=places, wanted=Wanted.exactly(values))


class _Solver(CallWatcher):
    """Solves each consumer right before it runs, so that what follows sees it repaired."""

    def __init__(
        self, model: nn.Module, targets: Mapping[str, _Target], ridges: Sequence[float]
    ) -> None:
        super().__init__()
        self.stored = StoredTensors(model)
        self.targets = targets
        self.ridges = ridges
        self.solved: list[str] = []

    def answer(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = contraction_of(func, args, self.stored)
        if call is not None and call.name in self.targets:
            self._solve(call, self.targets[call.name])
        return func(*args, **kwargs)

    def _solve(self, call: Contraction, target: _Target) -> None:
        weight = self.stored.tensors[call.name]
        by_output = weight.detach().movedim(call.out_axis, 0)
        bias = call.bias
        before = Solution(
            weight=by_output.flatten(1).double().t(),
            bias=None if bias is None else bias.detach().double(),
        )
        view = input_view(call)
        rows = partial(target.solving.blocks, view)
        equations = Equations(rows, len(target.solving), before)
        # In the type of the errors once, and not for each of them.
        judging = [(read.double(), wanted) for read, wanted in target.judging.blocks(view)]
        found = _best(equations, self.ridges, judging, slack=target.solving.wanted.slack)
        if found is before:
            return
        weight.copy_(found.weight.t().reshape(by_output.shape).movedim(0, call.out_axis))
        if bias is not None and found.bias is not None:
            bias.copy_(found.bias)
        self.solved.append(call.name)


def _best(
    equations: Equations,
    ridges: Sequence[float],
    judging: Sequence[tuple[Tensor, Wanted]],
    *,
    slack: bool,
) -> Solution:
    """Of no repair, the mean alone and each ridge, the best on held-out rows.

    Of equals the mildest; the first ridge that can be solved with, if there are no such rows.
    Where sums may stray, the best is improved step by step while that helps.
    """

    def error(solution: Solution) -> float:
        return sum(solution.error(*block) for block in judging)

    made: list[tuple[float | None, Solution | None]] = [
        *((ridge, equations.solution(ridge)) for ridge in ridges),
        (None, equations.mean()),
        (None, equations.before),
    ]
    candidates = [(ridge, solution) for ridge, solution in made if solution is not None]
    mildest = reversed(candidates)
    if not judging:
        return candidates[0][1]
    left, ridge, best = min(((error(one), ridge, one) for ridge, one in mildest), key=itemgetter(0))
    for _ in range(_STEPS if slack else 0):
        step = None if ridge is None else equations.improved(best, ridge)
        if step is None or not (now := error(step)) < _ENOUGH * left:
            break
        left, best = now, step
    return best
