"""Ridge regression of a consumer's weights, from sums over rows or from the rows themselves.

With rows a of what the consumer reads in the cut network, targets z and the weights W0 right after
the cut,

    W = argmin  sum over rows of |W a - z|^2 + ridge * mean(diag(sum a a^T)) * |W - W0|^2.

Where there is a bias it is free: rows and targets are taken as differences from their means, and
the bias makes the means agree. A ridge that grows without end leaves W0 and such a bias, which is
the repair "mean".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

_EXACT = 256  # inputs up to which everything is float64


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Solution:
    """Weights of a consumer.

    Attributes:
        weight: (inputs, outputs) float64.
        bias: (outputs,) float64, or None.
    """

    weight: Tensor
    bias: Tensor | None

    def error(
        self,
        inputs: Tensor,  # (rows, inputs)
        targets: Tensor,  # (rows, outputs)
    ) -> float:
        """Sum over rows of |weight^T a + bias - z|^2; infinite if not finite."""
        found = inputs.double() @ self.weight - targets.double()
        if self.bias is not None:
            found += self.bias
        error = float(found.square().sum())
        return error if error == error else float("inf")


class Equations:
    """What the solutions with all ridges share.

    With fewer rows than inputs the rows are kept and a system of their size is solved, which has
    the same solution; otherwise only sums over rows are.
    """

    def __init__(
        self,
        rows: Iterable[tuple[Tensor, Tensor]],  # (n, inputs) and (n, outputs), block by block
        count: int,
        before: Solution,
    ) -> None:
        """Read the rows, of which there are `count`."""
        self.before = before
        self.few = count < len(before.weight)
        kept: list[tuple[Tensor, Tensor]] = []
        zero = before.weight.new_zeros(())
        a_sum, z_sum, gram, cross = zero, zero, zero, zero
        for block in rows:
            a, z = (part.to(self._type(before)) for part in block)
            a_sum, z_sum = a_sum + a.double().sum(dim=0), z_sum + z.double().sum(dim=0)
            if self.few:
                kept.append((a, z))
            else:
                gram, cross = gram + (a.t() @ a).double(), cross + (a.t() @ z).double()
        self.mean_read, self.mean_wanted = a_sum / count, z_sum / count
        free = before.bias is not None
        if self.few:
            a, z = (torch.cat(part) for part in zip(*kept, strict=True))
            if free:
                a, z = a - self.mean_read, z - self.mean_wanted
            self.rows, gram = a, a @ a.t()
            self.missing = z - a @ before.weight
            self.scale = gram.diagonal().sum() / a.shape[1]
        else:
            if free:
                gram = gram - count * torch.outer(self.mean_read, self.mean_read)
                cross = cross - count * torch.outer(self.mean_read, self.mean_wanted)
            self.missing = cross - gram @ before.weight
            self.scale = gram.diagonal().mean()
        self.gram = gram

    def _type(self, before: Solution) -> torch.dtype:
        """Of products within a block of rows; their sums and the solution are float64.

        Single precision where that saves seconds; with many inputs it is far below the noise of
        the samples.
        """
        return torch.float32 if len(before.weight) > _EXACT and not self.few else torch.float64

    def solution(self, ridge: float) -> Solution | None:
        """The solution with a ridge; None where rounding leaves no positive definite matrix."""
        strength = ridge * self.scale
        if not float(strength) > 0:
            return None
        matrix = self.gram.clone()
        matrix.diagonal().add_(strength)
        factor, failed = torch.linalg.cholesky_ex(matrix)
        if int(failed):
            return None
        change = torch.cholesky_solve(self.missing, factor)
        if self.few:
            change = self.rows.t() @ change
        return self._with_bias(self.before.weight + change)

    def mean(self) -> Solution | None:
        """The weights as they are, with the bias that makes the means agree; None without bias."""
        return None if self.before.bias is None else self._with_bias(self.before.weight)

    def _with_bias(self, weight: Tensor) -> Solution:
        free = self.before.bias is not None
        bias = self.mean_wanted - self.mean_read @ weight if free else None
        return Solution(weight=weight, bias=bias)
