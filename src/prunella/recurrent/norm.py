"""Batch norm of a loop over time: running statistics of each step, by what was seen of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn

from prunella.recurrent.belief import Belief
from prunella.recurrent.kernels import Norm
from prunella.recurrent.layers import Factory

NORM_STEPS = 100  # with statistics of their own, where nothing else is said
MOMENTUM = 0.1  # of what is known of a step each further pass replaces so much
EPS = 1e-5


@final
class StepNorm(nn.Module):
    """Batch norm with running statistics for each of the first steps of a sequence.

    While training a step is normalised with its own statistics over the batch. In evaluation it
    has to be normalised with those of the same step: where inputs or states change with time, means
    over all steps are not what the network has learned with, and it may fail altogether
    (docs/decisions/0023-statistics-by-step.md). Steps that were never seen take the last one
    before them that was, and all from the last row on share it.

    Source: Cooijmans et al., "Recurrent batch normalization", ICLR 2017, statistics by step. Theirs
    average the variances of batches; here moments are merged as by Chan, Golub and LeVeque
    ("Algorithms for computing the sample variance", 1983) with a decaying count, so that neither
    initial numbers nor batches of a few sequences count as much as full ones.

    Args:
        channels: C, features or particle slots.
        steps: S, how many of the first steps have statistics of their own.
        per_slot: Whether channels are particle slots.
        device: Of parameters and statistics.
        dtype: Of parameters and statistics.
    """

    running_mean: Tensor  # (S, C)
    running_var: Tensor  # (S, C)
    running_count: Tensor  # (S,) how many numbers of a channel stand behind them; 0: never seen

    def __init__(
        self,
        channels: int,
        steps: int,
        *,
        per_slot: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.per_slot = per_slot
        self.weight = nn.Parameter(torch.ones(channels, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.zeros(channels, device=device, dtype=dtype))
        zeros = torch.zeros(steps, channels, device=device, dtype=dtype)
        self.register_buffer("running_mean", zeros)
        self.register_buffer("running_var", torch.ones_like(zeros))
        self.register_buffer("running_count", zeros.new_zeros(steps))

    def extra_repr(self) -> str:
        """Channels, steps, and what channels are."""
        steps, channels = self.running_mean.shape
        return f"{channels}, steps={steps}, per_slot={self.per_slot}"

    def norms(self, first: int, numbers: Sequence[int], dtype: torch.dtype) -> list[Norm]:
        """How each step of a pass is normalised.

        Args:
            first: Number of the first step of the pass in its sequences.
            numbers: How many numbers each channel has at each step, T of them. One number alone
                has no variance: the running statistics stand in for those of the step.
            dtype: To normalise in.
        """
        own = [self.training and count > 1 for count in numbers]
        # What the steps' own statistics overwrite, see `record`.
        mean = self.running_mean.new_zeros(len(own), self.running_mean.shape[1], dtype=dtype)
        variance = torch.ones_like(mean)
        if not all(own):
            rows = self._rows(first, len(own))
            overwritten = torch.tensor(own, device=mean.device).unsqueeze(1)
            mean = torch.where(overwritten, mean, self.running_mean[rows].to(dtype))
            variance = torch.where(overwritten, variance, self.running_var[rows].to(dtype))
        return [
            Norm(
                per_slot=self.per_slot, mean=mean[time], variance=variance[time],
                batch_statistics=own[time], eps=EPS, numbers=count,
            )
            for time, count in enumerate(numbers)
        ]  # fmt: skip

    def _rows(self, first: int, times: int) -> Tensor:  # (T,)
        """The row of each step, or the last one before it that was ever seen."""
        steps = torch.arange(len(self.running_count), device=self.running_count.device)
        seen = torch.where(self.running_count > 0, steps, 0).cummax(0).values
        return seen[(first + torch.arange(times, device=steps.device)).clamp(max=len(steps) - 1)]

    @torch.no_grad()
    def merge(
        self,
        rows: Sequence[int],  # T
        norms: Sequence[Norm],  # T
    ) -> None:
        """Bring what steps were normalised with into the running statistics.

        Args:
            rows: Of the running statistics, one for each step.
            norms: How the steps were normalised, each with its own statistics.
        """
        means = torch.stack([norm.mean for norm in norms])
        variances = torch.stack([norm.variance for norm in norms])
        each = means.new_tensor([norm.numbers for norm in norms]).unsqueeze(1)
        into = torch.tensor(rows, device=means.device)

        def summed(values: Tensor) -> Tensor:  # (T, *) to (S, *)
            zeros = values.new_zeros(len(self.running_count), values.shape[1])
            return zeros.index_add(0, into, values)

        count = summed(each)  # (S, 1)
        divisor = count.clamp(min=1)
        mean = summed(each * means) / divisor
        variance = summed(each * (variances + (means - mean[into]).square())) / divisor
        before = self.running_count.to(mean.dtype).unsqueeze(1)
        total = torch.where(count > 0, (1 - MOMENTUM) * before + count, before)
        share = count / total.clamp(min=1)
        away = mean - self.running_mean.to(mean.dtype)
        spread = variance + (1 - share) * away.square()
        self.running_mean.add_((share * away).to(self.running_mean.dtype))
        self.running_var.copy_(torch.lerp(self.running_var.to(mean.dtype), spread, share))
        self.running_count.copy_(total.squeeze(1))


def step_norm(channels: int, steps: int, factory: Factory, *, per_slot: bool) -> StepNorm | None:
    """A norm of so many channels; None for none."""
    if not channels:
        return None
    return StepNorm(channels, steps, per_slot=per_slot, **factory)  # type: ignore[arg-type]


def normalisers(
    norm: StepNorm | None,
    belief: Belief,  # (B, K, H)
    running: Sequence[int],  # T
) -> Sequence[Norm | None]:  # T
    """How steps that follow a belief are normalised, for as many sequences as run at each."""
    if norm is None:
        return [None] * len(running)
    each = belief.particles.shape[2 if norm.per_slot else 1]
    return norm.norms(belief.steps, [each * count for count in running], belief.particles.dtype)


def record(norm: StepNorm | None, norms: Sequence[Norm | None], first: int) -> None:
    """Keep the statistics of those steps of a pass that had their own; `first` is its first."""
    if norm is None:
        return
    last = len(norm.running_count) - 1
    own = [(min(first + time, last), n) for time, n in enumerate(norms) if n and n.batch_statistics]
    if own:
        norm.merge(*zip(*own, strict=True))


def scale_and_shift(
    norm: StepNorm | None, dtype: torch.dtype
) -> tuple[Tensor | None, Tensor | None]:  # (C,), (C,)
    """What is learned of a norm, in the type of the states."""
    return (None, None) if norm is None else (norm.weight.to(dtype), norm.bias.to(dtype))
