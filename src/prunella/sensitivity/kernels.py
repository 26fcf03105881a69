"""The exact sensitivity of the channels of one consumer on one block of samples.

For sample x, output i, position p and unit j, with W = W+ - W- and a = a+ - a- (all parts >= 0),

    c+_ijp = <W+_ij, a+_jp> + <W-_ij, a-_jp>        c-_ijp = <W+_ij, a-_jp> + <W-_ij, a+_jp>
    z+_ip  = sum_j c+_ijp                           z-_ip  = sum_j c-_ijp
    s_j    = max over x, i, p and sign of  c_ijp / z_ip,   0 / 0 = 0.

The inner products run over the kernel and over all positions that a unit owns (several for a
flattened map). Source: Liebenwein et al., ICLR 2020, Definition 1; the two sums instead of four
quadrants are derived in docs/theory/sensitivity.md, as are the bounds that save most of the work.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar, cast

import torch
from torch import Tensor

from prunella.ops import Contraction, PlainCall, plain_calls
from prunella.sensitivity import blocks, compiled
from prunella.sensitivity.backlog import Seen
from prunella.sensitivity.consumers import Norms, Weights, measured, norms_of
from prunella.sensitivity.pieces import Piece, as_convolution, output_positions, pieces
from prunella.sensitivity.search import Search
from prunella.sensitivity.shares import Reduction, largest_shares
from prunella.sensitivity.sums import Sums, Totals, bounded_sums, close_sums, totals

K = TypeVar("K", Weights, Norms, compiled.Rows)

COMPILE_FROM = 1_000_000_000  # shares: compiling takes seconds, as does searching these without
WARN_FROM = 300_000_000_000  # shares: minutes without compilation
_CLOSE_FROM = 1 << 13  # products in a sum from which single precision is too wide
_SLAB = 1 << 19  # elements looked at in one go, at most; 2 MiB of float32 stay in a core's cache


class SpeedWarning(UserWarning):
    """The pass over the samples takes longer than it would with an optional package."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Reader:
    """The units of one group that a consumer reads, and what is known of them.

    Attributes:
        units: (U, k) positions along the weight's input axis.
        best: (U,) float64 on the CPU, the largest shares known so far.
    """

    units: Tensor
    best: Tensor


class Prepared:
    """What is computed from weights once and used for every block of samples.

    It takes at most a third of the pass's memory; what no longer fits is computed anew each time.
    """

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self.left = memory // 3
        self.elements = max(1 << 12, min(_SLAB, memory // 512))
        self.work = 0
        self._kept: dict[object, Weights | Norms | compiled.Rows] = {}

    def weights(self, key: object, piece: Piece) -> Weights:
        """The scaled weights of a piece's outputs."""
        return self._once(
            ("weights", key),
            lambda: measured(piece.call.weight, piece.call.bias, signed=piece.signed),
        )

    def norms(self, key: object, weights: Weights, places: Tensor) -> Norms:
        """The norms of the weights of the units at some places."""
        return self._once(("norms", key), lambda: norms_of(weights, places))

    def rows(self, key: object, weights: Weights, places: Tensor) -> compiled.Rows:
        """The same as compiled code wants them."""
        return self._once(("rows", key), lambda: compiled.rows_of(norms_of(weights, places)))

    def _once(self, key: object, make: Callable[[], K]) -> K:
        known = cast(K | None, self._kept.get(key))
        if known is None:
            known = make()
            if known.size <= self.left:
                self.left -= known.size
                self._kept[key] = known
        return known

    def compiles(self, shares: int, device: torch.device) -> bool:
        """Whether to go on with compiled code, now that some more shares are to be searched."""
        before, self.work = self.work, self.work + shares
        if device.type != "cpu" or self.work < COMPILE_FROM:
            return False
        if not compiled.available() and before < WARN_FROM <= self.work:
            warnings.warn(
                "sensitivities: this is a long pass and Numba is not installed, so it runs "
                "several times slower than it could; install prunella[fast].",
                SpeedWarning,
                stacklevel=2,
            )
        return compiled.available()


def raised(
    seen: Seen,
    readers: Sequence[Reader],
    prepared: Prepared,
    *,
    reduction: Reduction = "inner",
) -> tuple[Tensor, ...]:
    """The largest shares of each reader's units, those in this call included; (U,) float64 each.

    Computed in float32 and, where it counts, float64, whatever the type of the model.

    Args:
        seen: What a consumer read and gave.
        readers: Groups that it reads.
        prepared: Kept from call to call.
        reduction: "inner" or "entry", see `sensitivities`.
    """
    best = [reader.best for reader in readers]
    call, results = seen.call, seen.results
    if call.bias is not None and call.bias.ndim != 1:
        call, results = replace(call, bias=None), None  # one for each row: no bias of a layer
    parts = plain_calls(call)
    blocks = _results_by_part(call, results, len(parts))
    for part, block in zip(parts, blocks, strict=True):
        reads = [_places(reader.units.to(call.inputs.device), part) for reader in readers]
        job = _Job(
            part=part,
            results=block,
            reads=tuple((number, *read) for number, read in enumerate(reads) if len(read[0])),
            signed=seen.signed,
            reduction=reduction,
        )
        if job.reads:
            _raise(job, best, prepared)
    return tuple(best)


def unit_sensitivities(
    call: Contraction,
    units: Tensor,  # (U, k) positions along the weight's input axis
    *,
    memory: int = 1 << 28,
) -> Tensor:
    """Largest share of each unit within this one call; (U,) float32, in [0, 1]."""
    best = torch.zeros(len(units), dtype=torch.float64)
    if call.inputs.numel():
        seen = Seen(call=call, results=None, signed=bool(call.inputs.amin() < 0))
        (best,) = raised(seen, [Reader(units=units, best=best)], Prepared(memory))
    return best.float().clamp_(max=1)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Job:
    """One group of a call: `reads` has a reader's number, its units, and their places, each."""

    part: PlainCall
    results: Tensor | None
    reads: tuple[tuple[int, Tensor, Tensor], ...]
    signed: bool
    reduction: Reduction

    def in_blocks(self, places: Tensor) -> bool:
        """Whether all parts of the units at these places (U, k) are computed, in matrix products.

        Those would bound the largest entry of a unit, too, but loosely.
        """
        matrix = self.part.call.spatial == 0
        return matrix and self.reduction == "inner" and places.shape[1] >= blocks.FROM


def _raise(job: _Job, best: list[Tensor], prepared: Prepared) -> None:
    units = max(len(read) for _, read, _ in job.reads)
    call = as_convolution(job.part)
    positions = len(call.inputs) * math.prod(output_positions(call))
    shares = positions * len(call.weight) * sum(len(read) for _, read, _ in job.reads)
    fast = prepared.compiles(shares, call.inputs.device)
    fast = fast and not any(job.in_blocks(places) for _, _, places in job.reads)
    cut = pieces(
        call, job.results, units=units, signed=job.signed, memory=prepared.memory, lean=fast
    )
    for piece in cut:
        if all(bool((best[number][read.cpu()] >= 1).all()) for number, read, _ in job.reads):
            return
        key = (call.name, job.part.first, job.part.number, piece.rows, job.signed)
        weights = prepared.weights(key, piece)
        known = _known(job, piece, weights, fast=fast)
        for number, read, places in job.reads:
            chosen = read.cpu()
            largest = best[number][chosen]
            # No share is larger than 1, which those of few positive weights often are.
            bar = largest.float().masked_fill(largest >= 1, math.inf)
            bar = bar.to(piece.call.inputs.device)
            if isinstance(known, Totals):
                rows = prepared.rows((*key, number), weights, places)
                found = compiled.search(piece, weights, rows, known, bar, reduction=job.reduction)
            elif job.in_blocks(places):
                found = blocks.search(
                    piece, weights, places, known, bar, elements=prepared.elements
                )
            else:
                norms = prepared.norms((*key, number), weights, places)
                found = Search(
                    piece, weights, norms, known, bar,
                    reduction=job.reduction, elements=prepared.elements,
                ).run()  # fmt: skip
            if len(found):
                higher = largest_shares(
                    piece, found, places, reduction=job.reduction, elements=prepared.elements
                )
                largest = torch.maximum(largest, higher)
                best[number] = best[number].index_copy(0, chosen, largest)


def _known(job: _Job, piece: Piece, weights: Weights, *, fast: bool) -> Totals | Sums:
    """What compiled code bounds the sums from, or else their bounds."""
    blockwise = any(job.in_blocks(places) for _, _, places in job.reads)
    if blockwise and weights.plain[0].numel() >= _CLOSE_FROM:
        close = close_sums(piece, weights)
        if close is not None:
            return close
    known = totals(piece, weights)
    return known if fast else bounded_sums(piece, weights, known)


def _results_by_part(
    call: Contraction, results: Tensor | None, parts: int
) -> tuple[Tensor | None, ...]:
    if results is None or results.dtype is not torch.float32:
        return (None,) * parts
    if call.spatial == 0:
        return (results.detach().t().unsqueeze(0),)
    return results.detach().chunk(parts, call.channel_axis)


def _places(units: Tensor, part: PlainCall) -> tuple[Tensor, Tensor]:
    """Which units a part of a call reads, (read,), and their places among its inputs, (read, k)."""
    places = units - part.first
    inside = (places >= 0) & (places < part.size)
    counts = inside.sum(dim=1)
    read = counts.nonzero().reshape(-1)
    if len(read) == 0:
        return read, places[:0]
    # Units of one group own equally many positions of every part that reads them.
    return read, places[read][inside[read]].reshape(len(read), -1)


def sums_per_sample(call: Contraction, samples: int) -> int:
    """Number of (output, position, sign) sums the consumer forms for one of `samples` samples."""
    if call.spatial == 0:
        return 2 * call.weight.shape[1] * max(1, len(call.inputs) // samples)
    parts = [part.call for part in plain_calls(call)]
    return sum(2 * len(part.weight) * math.prod(output_positions(part)) for part in parts)
