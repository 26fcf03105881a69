"""Ridge regression of a consumer's weights, from sums over rows or from the rows themselves.

With rows a of what the consumer reads in the cut network, targets z and the weights W0 right after
the cut,

    W = argmin  sum over rows of |W a - z|^2 + ridge * mean(diag(sum a a^T)) * |W - W0|^2.

Where there is a bias it is free: rows and targets are taken as differences from their means, and
the bias makes the means agree. A ridge that grows without end leaves W0 and such a bias, which is
the repair "mean".

Where a sum need not have one value but may lie anywhere in an interval, its error is the distance
to that. From one solution a better one follows by taking, for each sum, the nearest point of its
interval as the target: the new squared distances bound the old ones from above and agree with them
at the solution, so that no step makes the objective larger (majorisation and minimisation; Hunter,
Lange, "A tutorial on MM algorithms", The American Statistician 58, 2004).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

_EXACT = 256  # inputs up to which everything is float64
_KEPT = 1 << 26  # numbers of rows in memory; of more the rows are read anew each time


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Wanted:
    """What a consumer's sums should be.

    Attributes:
        values: (rows, outputs), those of the original.
        low: (rows, outputs), from where on they will do.
        high: (rows, outputs), up to where.
    """

    values: Tensor
    low: Tensor
    high: Tensor

    @staticmethod
    def exactly(values: Tensor) -> Wanted:
        """These values and no others."""
        return Wanted(values=values, low=values, high=values)

    @property
    def slack(self) -> bool:
        """Whether some may lie anywhere in an interval."""
        return self.low is not self.high

    def part(self, rows: slice) -> Wanted:
        """Some of the rows."""
        if not self.slack:
            return Wanted.exactly(self.values[rows])
        return Wanted(values=self.values[rows], low=self.low[rows], high=self.high[rows])


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Solution:
    """Weights of a consumer.

    Attributes:
        weight: (inputs, outputs) float64.
        bias: (outputs,) float64, or None.
    """

    weight: Tensor
    bias: Tensor | None

    def sums(self, inputs: Tensor) -> Tensor:
        """What it gives for inputs (rows, inputs), in their type."""
        found = inputs @ self.weight.to(inputs.dtype)
        return found if self.bias is None else found + self.bias.to(inputs.dtype)

    def error(
        self,
        inputs: Tensor,  # (rows, inputs)
        wanted: Wanted,
    ) -> float:
        """Sum over rows of the squared distances from what is wanted; infinite if not finite."""
        found = self.sums(inputs.double())
        error = float((found - found.clamp(wanted.low, wanted.high)).square().sum())
        return error if error == error else float("inf")


class Equations:
    """What the solutions with all ridges share.

    With fewer rows than inputs the rows are kept and a system of their size is solved, which has
    the same solution; otherwise only sums over rows are.
    """

    def __init__(
        self,
        rows: Callable[[], Iterable[tuple[Tensor, Wanted]]],  # (n, inputs), block by block
        count: int,
        before: Solution,
    ) -> None:
        """Read the rows, of which there are `count`; they are read again for each solution."""
        self.before, self.count = before, count
        self.few = count < len(before.weight)
        self.has_bias = before.bias is not None
        # Of products within a block of rows; their sums and the solution are float64. Single
        # precision saves seconds; with many inputs it is far below the noise of the samples.
        single = len(before.weight) > _EXACT and not self.few
        self.type = torch.float32 if single else torch.float64
        self.rows_of = rows
        if self.few or count * len(before.weight) <= _KEPT:
            # To gather windows again for each step takes longer than all products.
            kept = list(self._typed())
            self.blocks: Callable[[], Iterable[tuple[Tensor, Wanted]]] = lambda: kept
        else:
            self.blocks = self._typed
        self._factors: dict[float, Tensor | None] = {}
        self._read()
        self.missing, self.mean_wanted = self._missing(None)

    def _typed(self) -> Iterator[tuple[Tensor, Wanted]]:
        for a, wanted in self.rows_of():
            yield a.to(self.type), wanted

    def _read(self) -> None:
        parts = []
        zero = self.before.weight.new_zeros(())
        total, gram = zero, zero
        for a, _ in self.blocks():
            total = total + a.double().sum(dim=0)
            if self.few:
                parts.append(a)
            else:
                gram = gram + (a.t() @ a).double()
        self.mean_read = total / self.count
        if self.few:
            a = torch.cat(parts)
            self.rows = a - self.mean_read if self.has_bias else a
            self.gram = self.rows @ self.rows.t()
            self.scale = self.gram.diagonal().sum() / a.shape[1]
            return
        if self.has_bias:
            gram = gram - self.count * torch.outer(self.mean_read, self.mean_read)
        self.gram, self.scale = gram, gram.diagonal().mean()

    def _missing(self, solution: Solution | None) -> tuple[Tensor, Tensor]:
        """The right-hand side for what W0 lacks, and the mean of the targets.

        The targets are the original's values, or those nearest to what a solution gives.
        """
        parts = []
        zero = self.before.weight.new_zeros(())
        total, cross = zero, zero
        for a, wanted in self.blocks():
            z = wanted.values.to(self.type)
            if solution is not None:
                z = solution.sums(a).clamp(wanted.low.to(self.type), wanted.high.to(self.type))
            total = total + z.double().sum(dim=0)
            if self.few:
                parts.append(z)
            else:
                cross = cross + (a.t() @ z).double()
        mean = total / self.count
        if self.few:
            z = torch.cat(parts)
            return (z - mean if self.has_bias else z) - self.rows @ self.before.weight, mean
        if self.has_bias:
            cross = cross - self.count * torch.outer(self.mean_read, mean)
        return cross - self.gram @ self.before.weight, mean

    def solution(self, ridge: float) -> Solution | None:
        """The solution with a ridge; None where rounding leaves no positive definite matrix."""
        return self._solved(ridge, self.missing, self.mean_wanted)

    def improved(self, solution: Solution, ridge: float) -> Solution | None:
        """One step from a solution to one whose sums are nearer to their intervals."""
        return self._solved(ridge, *self._missing(solution))

    def mean(self) -> Solution | None:
        """The weights as they are, with the bias that makes the means agree; None without one."""
        return self._with_bias(self.before.weight, self.mean_wanted) if self.has_bias else None

    def _solved(self, ridge: float, missing: Tensor, mean_wanted: Tensor) -> Solution | None:
        factor = self._factor(ridge)
        if factor is None:
            return None
        change = torch.cholesky_solve(missing, factor)
        if self.few:
            change = self.rows.t() @ change
        return self._with_bias(self.before.weight + change, mean_wanted)

    def _factor(self, ridge: float) -> Tensor | None:
        if ridge not in self._factors:
            self._factors[ridge] = self._decomposed(ridge * self.scale)
        return self._factors[ridge]

    def _decomposed(self, strength: Tensor) -> Tensor | None:
        if not float(strength) > 0:
            return None
        matrix = self.gram.clone()
        matrix.diagonal().add_(strength)
        factor, failed = torch.linalg.cholesky_ex(matrix)
        return None if int(failed) else factor

    def _with_bias(self, weight: Tensor, mean_wanted: Tensor) -> Solution | None:
        """None where rows or targets were not finite."""
        bias = mean_wanted - self.mean_read @ weight if self.has_bias else None
        found = (weight,) if bias is None else (weight, bias)
        finite = all(bool(torch.isfinite(tensor).all()) for tensor in found)
        return Solution(weight=weight, bias=bias) if finite else None
