"""Least-squares reconstruction of the consumers' weights.

For each consumer of pruned channels, in the order in which they run, with rows a of the cut
network's inputs to it and targets z, the original's pre-activations of the same samples and
positions,

    minimise over W   sum_rows |W a - z|^2 + ridge * mean(diag(A^T A)) * |W - W0|^2

where W0 are the weights right after the cut. Each consumer is fed by the network as repaired so
far, so that later layers make up for what earlier ones could not.

Source: He, Zhang, Sun, "Channel pruning for accelerating very deep neural networks", ICCV 2017,
section 3.1 (reconstruction after selection), with a ridge towards the unrepaired weights. Where W0
estimated the sums without bias (drawn channels), W does not: docs/theory/sampling.md, section 5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from prunella.core.inputs import Inputs
from prunella.core.modes import attention_in_parts, evaluating
from prunella.core.positions import complement, removed_positions
from prunella.core.types import ChannelGraph
from prunella.ops import CallWatcher, Contraction, StoredTensors, contraction_of, windows

RIDGE = 1e-4
_ROWS = 1 << 15  # equations for each consumer: many times the unknowns of common layers


def reconstruct(
    original: nn.Module,
    small: nn.Module,
    graph: ChannelGraph,
    kept: Mapping[str, Tensor],  # group name -> (kept,) int64
    inputs: object,
    *,
    generator: torch.Generator,
    ridge: float = RIDGE,
) -> tuple[str, ...]:
    """Re-solve the consumers of pruned channels in `small`, in place.

    Both networks run once on all inputs together, so their number bounds the memory: that of one
    layer's activations, and of at most 32,768 rows of targets for each consumer.

    Args:
        original: Untouched.
        small: Its cut copy.
        graph: The graph of the original.
        kept: The units that `small` has.
        inputs: Calibration samples in one batch: a tensor (N, ...), a tuple of positional
            arguments, or a dictionary of keyword arguments.
        generator: Draws the rows (samples and positions) that make the equations.
        ridge: Weight of staying near the unrepaired weights, relative to the inputs' mean square.

    Returns:
        Names of the weights that were solved again; others (used twice, grouped, transposed) keep
        their values.
    """
    removed = removed_positions(graph, kept)
    wanted = {
        member.tensor
        for group in graph.prunable
        if len(kept[group.name]) < group.size
        for member in group.members
        if member.role == "consumer"
    }
    device = next(original.parameters()).device
    given = Inputs.of(inputs).to(device)
    targets = _Targets(original, wanted, removed, generator)
    with evaluating(original), attention_in_parts(), targets:
        given.call(original)
    once = {name: found for name, found in targets.found.items() if found is not None}
    solver = _Solver(small, once, ridge)
    with evaluating(small), attention_in_parts(), solver:
        given.call(small)
    return tuple(solver.solved)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Rows:
    """What one consumer of the original computed at chosen samples and positions.

    Attributes:
        index: One tensor of shape (rows,) for the sample and for each spatial axis.
        values: (rows, kept outputs).
    """

    index: tuple[Tensor, ...]
    values: Tensor


class _Targets(CallWatcher):
    """Notes the original's pre-activations at random rows."""

    def __init__(
        self,
        model: nn.Module,
        wanted: set[str],
        removed: Mapping[str, Mapping[int, Tensor]],
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.stored = StoredTensors(model)
        self.wanted = wanted
        self.removed = removed
        self.generator = generator
        self.found: dict[str, _Rows | None] = {}

    def answer(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        out = func(*args, **kwargs)
        call = contraction_of(func, args, self.stored)
        if call is not None and call.name in self.wanted:
            again = call.name in self.found
            self.found[call.name] = (
                None if again or _unsupported(call, self.stored) else self._rows(call, out)
            )
        return out

    def _rows(self, call: Contraction, out: Tensor) -> _Rows:
        by_row = out.movedim(call.channel_axis, -1)
        index = _random_rows(by_row.shape[:-1], self.generator, out.device)
        values = by_row[index]
        gone = self.removed.get(call.name, {}).get(call.out_axis)
        if gone is not None:
            stays = complement(gone, values.shape[1])
            values = values.index_select(1, stays.to(values.device))
        return _Rows(index=index, values=values)


class _Solver(CallWatcher):
    """Solves each consumer right before it runs, so that what follows sees it repaired."""

    def __init__(self, model: nn.Module, targets: dict[str, _Rows], ridge: float) -> None:
        super().__init__()
        self.stored = StoredTensors(model)
        self.targets = targets
        self.ridge = ridge
        self.solved: list[str] = []

    def answer(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        call = contraction_of(func, args, self.stored)
        if call is not None and call.name in self.targets:
            self._solve(call, self.targets[call.name])
            self.solved.append(call.name)
        return func(*args, **kwargs)

    def _solve(self, call: Contraction, target: _Rows) -> None:
        weight = self.stored.tensors[call.name]
        rows = _input_rows(call, target.index).double()
        by_output = weight.detach().movedim(call.out_axis, 0)
        before = by_output.flatten(1).double().t()
        if call.bias is not None:
            rows = torch.cat([rows, rows.new_ones(len(rows), 1)], dim=1)
            before = torch.cat([before, call.bias.detach().double()[None]])
        solution = ridge_towards(rows, target.values.double(), before, self.ridge)
        if call.bias is not None:
            call.bias.copy_(solution[-1])
            solution = solution[:-1]
        weight.copy_(solution.t().reshape(by_output.shape).movedim(0, call.out_axis))


def ridge_towards(
    rows: Tensor,  # (n, inputs)
    targets: Tensor,  # (n, outputs)
    before: Tensor,  # (inputs, outputs)
    ridge: float,
) -> Tensor:
    """argmin over X of |rows X - targets|^2 + ridge * mean(diag(rows^T rows)) * |X - before|^2.

    Solved by Cholesky factorisation; the ridge keeps the matrix positive definite. All rows zero
    give `before` back.
    """
    gram = rows.t() @ rows
    strength = ridge * gram.diagonal().mean()
    if not float(strength) > 0:
        return before
    gram.diagonal().add_(strength)
    right = rows.t() @ targets + strength * before
    return torch.cholesky_solve(right, torch.linalg.cholesky(gram))


def _unsupported(call: Contraction, stored: StoredTensors) -> bool:
    """Grouped, transposed, or with a part of a weight only."""
    part = call.weight.numel() != stored.tensors[call.name].numel()
    return call.groups != 1 or call.transposed or part


def _random_rows(
    shape: Sequence[int], generator: torch.Generator, device: torch.device
) -> tuple[Tensor, ...]:
    total = torch.Size(shape).numel()
    chosen = torch.randperm(total, generator=generator)[:_ROWS]
    return tuple(axis.to(device) for axis in torch.unravel_index(chosen, tuple(shape)))


def _input_rows(call: Contraction, index: tuple[Tensor, ...]) -> Tensor:
    """What the consumer reads at the chosen rows; (rows, inputs)."""
    if call.spatial == 0:
        return call.inputs[index[0]]
    seen = windows(call.inputs, call)
    # (N, *positions, C, *kernel), still a view: only the chosen rows are copied.
    by_row = seen.movedim(1, 1 + call.spatial)
    return by_row[index].flatten(1)
