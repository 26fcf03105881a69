"""The search on a CPU as machine code, where Numba is installed."""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prunella.sensitivity import planes, sweep
from prunella.sensitivity.consumers import Norms, Weights
from prunella.sensitivity.norms import LEAST_SQUARE, activation_norms, single_inputs
from prunella.sensitivity.pieces import Piece
from prunella.sensitivity.shares import Reduction
from prunella.sensitivity.sums import Totals, sums_by_definition

T = TypeVar("T")
R = TypeVar("R")

_ENOUGH = 1 << 20  # shares that are worth a thread of their own
_TILE = 256  # positions in one tile; memory is read in pieces of so many numbers
_SUMS = 1 << 16  # of each sign in a tile, at most; more would leave the cache
_PLACES = 64  # inputs of a unit, for which the order of adding their squares matters little

# Compiled one by one; the rest of those modules is data. Small loops on vectors are functions of
# their own, in which the compiler sees that no index counts from the end.
_HELPERS = {
    sweep: (
        ("_part", "always"),
        ("_without_beaten", "always"),
        ("_bound_sums", "never"),
        ("_copy_sums", "never"),
        ("_invert", "never"),
        ("_copy_activations", "never"),
        ("_smallest", "never"),
        ("_factor", "always"),
        ("_any_above", "never"),
        ("_above", "never"),
        ("_above_at_top", "never"),
        ("_places", "never"),
    ),
    planes: (("_add_squares", "never"), ("_add_shifted", "never"), ("_write_roots", "never")),
}


@functools.cache
def available() -> bool:
    """Whether Numba is installed."""
    return find_spec("numba") is not None


@functools.cache
def _compiled(function: Callable[..., T]) -> Callable[..., T]:
    """A loop, compiled on first use and kept on disk by Numba from then on."""
    numba = importlib.import_module("numba")
    # Divisions by zero are allowed: a way out of a loop for each would be slow.
    compile_ = functools.partial(
        numba.njit, nogil=True, cache=True, error_model="numpy", _nrt=False
    )
    for module, helpers in _HELPERS.items():
        for helper, inline in helpers:
            if not hasattr(getattr(module, helper), "py_func"):
                setattr(module, helper, compile_(inline=inline)(getattr(module, helper)))
    compiled: Callable[..., T] = compile_()(function)
    return compiled


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Rows:
    """Units and the norms of their weights as the loops want them, unit by unit.

    Attributes:
        places: (U, k), positions of the units among the inputs.
        norms: (U, E), falling; no more than the unit with most of them has above 0.
        sums: (U, E) int32, which sums have these norms: the output, plus I for the negative sum.
    """

    places: Tensor
    norms: Tensor
    sums: Tensor

    @property
    def size(self) -> int:
        """Bytes of these tensors."""
        return 8 * self.norms.numel()


def rows_of(norms: Norms) -> Rows:
    """Put norms in order."""
    by_sign, outputs = norms.norms.numpy(), norms.norms.shape[2]
    if len(by_sign) == 1:  # of both signs: an output's two sums stand side by side
        sizes, sums = _in_order(by_sign[0])
        sizes, sums = sizes.repeat(2, axis=1), sums.repeat(2, axis=1)
        sums[:, 1::2] += outputs
    elif np.minimum(*by_sign).any():
        sizes, sums = _in_order(np.concatenate(by_sign, axis=1))
    else:  # one entry for each output has one sign only: half as many to be put in order
        sizes, sums = _in_order(np.maximum(*by_sign))
        sums += np.take_along_axis(by_sign[1] > 0, sums, axis=1) * np.int32(outputs)
    return Rows(places=norms.places, norms=torch.from_numpy(sizes), sums=torch.from_numpy(sums))


def _in_order(
    sizes: NDArray[np.float32],  # (U, E)
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Falling, and where each was; no more than the row with most of them has above 0."""
    most = max(1, int(np.count_nonzero(sizes, axis=1).max()))
    order = (-sizes).argsort(axis=1)[:, :most]  # several times faster than torch's
    return np.take_along_axis(sizes, order, axis=1), order.astype(np.int32)


def search(
    piece: Piece,
    weights: Weights,
    rows: Rows,
    totals: Totals,
    best: Tensor,  # (U,) float32
    *,
    reduction: Reduction,
) -> Tensor:
    """As `search.Search.run`: samples, outputs, positions, signs and units (K, 5)."""
    given = _arguments(piece, weights, rows, totals)
    samples, _, positions = given["activations"].shape
    inner = reduction == "inner"
    doubtful = np.zeros((samples, positions), dtype=np.bool_)
    swept = _swept(given, best.numpy(), doubtful, inner)
    parts = [swept]
    if doubtful.any():
        spots = torch.from_numpy(doubtful).nonzero()
        for some, lower in sums_by_definition(piece, weights, spots):
            swept = _swept(_alone(given, some, lower), swept.best, np.zeros_like(doubtful), inner)
            where = swept.found[:, 2]  # of its sums among these
            swept.found[:, (0, 2)] = some.numpy()[where]
            parts.append(swept)
    found = np.concatenate([part.found for part in parts])
    shares = np.concatenate([part.shares for part in parts])
    return torch.from_numpy(found[shares >= swept.best[found[:, 4]]])


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Swept:
    """What `sweep.sweep` found, and what it raised."""

    best: NDArray[np.float32]
    found: NDArray[np.int64]
    shares: NDArray[np.float32]


def _swept(
    given: dict[str, Any], best: NDArray[np.float32], doubtful: NDArray[np.bool_], inner: bool
) -> _Swept:
    """Sweep over all tiles, in threads where that is worth it."""
    samples, units, positions = given["activations"].shape
    outputs = len(given["scale"])
    tile = max(sweep.STEP, min(_TILE, _SUMS // outputs, samples * positions))
    tile += -tile % (sweep.STEP if tile < sweep.PART else sweep.PART)
    tiles = -(-samples // max(1, tile // positions)) * -(-positions // tile)
    # Small work is done before another thread has started.
    most = samples * positions * units * outputs // _ENOUGH
    count = max(1, min(torch.get_num_threads(), tiles, most))
    edges = [tiles * part // count for part in range(count + 1)]
    more = {"tile": tile, "doubtful": doubtful, "inner": inner, "scouting": bool((best == 0).any())}
    run = functools.partial(_run, _compiled(sweep.sweep), given | more, best)
    parts = _side_by_side(run, list(pairwise(edges)))
    return _Swept(
        best=np.max([part.best for part in parts], axis=0),
        found=np.concatenate([part.found for part in parts]),
        shares=np.concatenate([part.shares for part in parts]),
    )


def _run(
    loops: Callable[..., int],  # `sweep.sweep`, compiled
    given: dict[str, Any],
    best: NDArray[np.float32],
    tiles: tuple[int, int],
) -> _Swept:
    raised = best.copy()
    room = 8 * len(raised) + 1024
    space = sweep.room_for(len(raised), len(given["scale"]), given["tile"])
    while True:
        found, shares = np.empty((room, 5), np.int64), np.empty(room, np.float32)
        count = loops(space, tiles, **given, best=raised, found=found, shares=shares)
        if count >= 0:
            return _Swept(best=raised, found=found[:count], shares=shares[:count])
        room *= 4


def _side_by_side(run: Callable[[T], R], parts: Sequence[T]) -> list[R]:
    """Results of all parts, the first one made by this thread and each other by one of its own."""
    if len(parts) == 1:
        return [run(parts[0])]
    with ThreadPoolExecutor(len(parts) - 1) as pool:
        others = [pool.submit(run, part) for part in parts[1:]]
        return [run(parts[0]), *(other.result() for other in others)]


def _arguments(piece: Piece, weights: Weights, rows: Rows, totals: Totals) -> dict[str, Any]:
    inputs = piece.call.inputs.contiguous()
    line = math.prod(inputs.shape[2:])
    spatial = torch.arange(line).view(inputs.shape[2:])
    seen = piece.windows_of(spatial[None, None])[0, 0]  # (*positions, *kernel)
    spots = seen.reshape(math.prod(piece.positions), -1)  # (P, T) places in one channel
    outputs = len(weights.scale)
    tensors = {
        "inputs": inputs.view(-1),
        "spots": spots[:, 0],
        "places": rows.places,
        "jumps": spots[0] - spots[0, 0],
        "weights": weights.plain.flatten(2),
        "scale": weights.scale,
        "activations": _activations(piece, rows.places),
        "total": totals.total,
        "results": totals.results,
        "offset": torch.zeros(2, outputs) if totals.offset is None else totals.offset,
        "lower": torch.empty(2, 0, 0, 0),
        "slop": torch.zeros(outputs) if totals.slop is None else totals.slop,
        "norms": rows.norms,
        "rows": rows.sums,
    }
    arrays = {name: tensor.contiguous().numpy() for name, tensor in tensors.items()}
    return {
        **arrays,
        "length": inputs[0].numel(),
        "line": line,
        "width": np.float32(totals.width),
    }


def _alone(
    given: dict[str, Any],
    spots: Tensor,  # (K, 2) sample and position
    lower: Tensor,  # (2, I, K)
) -> dict[str, Any]:
    """The same for some positions with known sums, as if they were those of one sample."""
    sample, position = spots.numpy().T
    chosen = {
        "spots": sample * given["length"] + given["spots"][position],
        "activations": given["activations"][sample, :, position].T[None],
        "total": given["total"][sample, :, position].T[None],
        "lower": lower.numpy()[:, None],
    }
    return given | {name: np.ascontiguousarray(array) for name, array in chosen.items()}


def _activations(piece: Piece, places: Tensor) -> Tensor:
    """As `norms.activation_norms`, but for signs."""
    inputs, kernel = piece.call.inputs, piece.call.weight.shape[2:]
    if set(kernel) == {1} and places.shape[1] == 1:
        return single_inputs(piece, places)
    if places.shape[1] > _PLACES:
        return activation_norms(piece, places)
    found = np.empty((len(inputs), len(places), *_three(piece.positions)), dtype=np.float32)
    sizes = (inputs.shape[2:], kernel, piece.call.stride, piece.call.dilation)
    values = inputs.contiguous().flatten(2).numpy()
    given = (values, places.numpy(), *(np.array(_three(size)) for size in sizes))
    loops, floor = _compiled(planes.box_norms), np.float32(LEAST_SQUARE)
    rows = len(inputs) * len(places)
    count = max(1, min(torch.get_num_threads(), values.size // _ENOUGH))
    edges = [rows * part // count for part in range(count + 1)]

    def run(part: tuple[int, int]) -> None:
        loops(np.empty((2, values.shape[2]), np.float32), part, *given, floor, found)

    _side_by_side(run, list(pairwise(edges)))
    return torch.from_numpy(found).flatten(2)


def _three(sizes: Sequence[int]) -> tuple[int, ...]:
    return (1,) * (3 - len(sizes)) + tuple(sizes)
