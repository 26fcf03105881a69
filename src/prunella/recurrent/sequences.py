"""Padded and packed sequences as steps over those that are still running.

Sequences are ordered by length, the longest first, so that the ones that run at a step are the
first rows: a sequence that has ended is not computed any more. So it cannot get into the statistics
of batch norm, and what stands in the padding is never read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from prunella.core.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """A batch of sequences in time order.

    Attributes:
        inputs: (T, B, D), sequences from the longest to the shortest.
        running: How many sequences run at each step, T numbers that never rise.
        order: (B,) the caller's number of each row; None where rows are as the caller has them.
        back: (B,) the row of each of the caller's sequences; None likewise.
        packed: The packed sequence that was given, if one was.
    """

    inputs: Tensor  # (T, B, D)
    running: tuple[int, ...]
    order: Tensor | None  # (B,)
    back: Tensor | None  # (B,)
    packed: PackedSequence | None

    @property
    def batch(self) -> int:
        """B."""
        return self.inputs.shape[1]

    def arranged(self, rows: Tensor) -> Tensor:
        """Rows of the caller in the order of the steps."""
        return rows if self.order is None else rows.index_select(0, self.order)

    def restored(self, rows: Tensor) -> Tensor:
        """Rows in the order of the steps as the caller has them."""
        return rows if self.back is None else rows.index_select(0, self.back)

    def stacked(
        self,
        pieces: Sequence[Tensor],  # T of (running, ...)
        fill: float,
        like: Tensor,  # (B, ...)
    ) -> Tensor:  # (B, T, ...)
        """One tensor of the steps' results, filled up where sequences have ended."""
        if not pieces:
            return like.new_zeros((self.batch, 0, *like.shape[1:]))
        if len(pieces[-1]) == self.batch:
            return self.restored(torch.stack(tuple(pieces), 1))
        full = []
        for piece in pieces:
            ended = piece.new_full((self.batch - len(piece), *piece.shape[1:]), fill)
            full.append(torch.cat((piece, ended)) if len(ended) else piece)
        return self.restored(torch.stack(full, 1))


def steps_of(
    x: Tensor | PackedSequence,  # (B, T, D), or (T, B, D)
    lengths: Tensor | Sequence[int] | None,  # (B,)
    *,
    input_size: int,
    batch_first: bool,
) -> Steps:
    """Order a batch for the loop over time, or raise InputError."""
    if isinstance(x, PackedSequence):
        return _of_packed(x, lengths, input_size)
    if not isinstance(x, Tensor):
        raise InputError(f"x is a {type(x).__name__}; expected a tensor or a PackedSequence.")
    if x.ndim != 3 or x.shape[-1] != input_size or not x.is_floating_point():
        raise InputError(
            f"x has shape {tuple(x.shape)} and type {x.dtype}; expected numbers of shape "
            f"{'(B, T, D)' if batch_first else '(T, B, D)'} with D = {input_size}. A single "
            "sequence needs x.unsqueeze, one step belongs to `step`."
        )
    inputs = x.transpose(0, 1) if batch_first else x
    time, batch = inputs.shape[:2]
    if lengths is None:
        return Steps(inputs=inputs, running=(batch,) * time, order=None, back=None, packed=None)
    counts = _checked(lengths, batch, time)
    if bool((counts == time).all()):
        return Steps(inputs=inputs, running=(batch,) * time, order=None, back=None, packed=None)
    order = torch.sort(counts, descending=True, stable=True).indices
    running = tuple((counts.unsqueeze(0) > torch.arange(time).unsqueeze(1)).sum(1).tolist())
    order = order.to(x.device)
    return Steps(
        inputs=inputs.index_select(1, order),
        running=running,
        order=order,
        back=torch.argsort(order),
        packed=None,
    )


def _of_packed(x: PackedSequence, lengths: Tensor | Sequence[int] | None, input_size: int) -> Steps:
    if lengths is not None:
        raise InputError(
            "lengths are given for a PackedSequence, which has its own; expected lengths=None, or "
            "a padded tensor."
        )
    if x.data.ndim != 2 or x.data.shape[1] != input_size:
        raise InputError(
            f"the packed data have shape {tuple(x.data.shape)}; expected (N, D) with "
            f"D = {input_size}."
        )
    running = tuple(x.batch_sizes.tolist())
    pieces = x.data.split(running)
    inputs = torch.stack([
        torch.cat((piece, piece.new_zeros(running[0] - len(piece), input_size)))
        for piece in pieces
    ])  # fmt: skip
    return Steps(
        inputs=inputs,
        running=running,
        order=x.sorted_indices,
        back=x.unsorted_indices,
        packed=x,
    )


def _checked(lengths: Tensor | Sequence[int], batch: int, time: int) -> Tensor:  # (B,), on the CPU
    counts = torch.as_tensor(lengths).detach().cpu()
    if counts.is_floating_point() or counts.is_complex() or counts.dtype == torch.bool:
        raise InputError(f"lengths have type {counts.dtype}; expected whole numbers.")
    if counts.shape != (batch,) or not bool(((counts >= 0) & (counts <= time)).all()):
        raise InputError(
            f"lengths are {counts.tolist()} for {batch} sequences of at most {time} steps; "
            f"expected {batch} whole numbers from 0 to {time}."
        )
    return counts.long()
