"""The search on a CPU as machine code, where Numba is installed."""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prunella.sensitivity import sweep
from prunella.sensitivity.consumers import Norms, Weights
from prunella.sensitivity.norms import activation_norms
from prunella.sensitivity.pieces import Piece
from prunella.sensitivity.shares import Reduction
from prunella.sensitivity.sums import Sums

T = TypeVar("T")
R = TypeVar("R")

_ENOUGH = 1 << 14  # outputs tried by units in tiles, that are worth a thread of their own

# Compiled one by one; the rest of that module is data. To hand an array to a function, Numba may
# count one more user of it, in a way that is safe among threads and slow; not where it is inlined.
_HELPERS = (
    ("_part", "always"),
    ("_any_above", "always"),
    ("_without_beaten", "always"),
    ("_copy_sums", "never"),
    ("_copy_activations", "never"),
    ("_try_places", "never"),
)


@functools.cache
def available() -> bool:
    """Whether Numba is installed."""
    return find_spec("numba") is not None


@functools.cache
def _compiled(name: str) -> Callable[..., Any]:
    """A function of `sweep`, compiled on first use and kept on disk by Numba from then on."""
    numba = importlib.import_module("numba")
    # Divisions by zero are allowed: a way out of a loop for each would be slow.
    compile_ = functools.partial(numba.njit, nogil=True, cache=True, error_model="numpy")
    for helper, inline in _HELPERS:
        if not hasattr(getattr(sweep, helper), "py_func"):
            setattr(sweep, helper, compile_(inline=inline)(getattr(sweep, helper)))
    compiled: Callable[..., Any] = compile_()(getattr(sweep, name))
    return compiled


def search(
    piece: Piece,
    weights: Weights,
    norms: Norms,
    sums: Sums,
    best: Tensor,  # (U,) float32
    order: Tensor,  # (S, U, I) int32, outputs by falling norm
    *,
    reduction: Reduction,
) -> Tensor:
    """As `search.Search.run`: samples, outputs and positions (K, 3) that must be evaluated."""
    given = _arrays(piece, weights, norms, sums, order)
    samples, units, positions = given["activations"].shape
    tiles = samples * -(-positions // sweep.TILE)
    known = best.numpy().copy()
    _look_at_the_top(given, known, reduction == "inner")
    # Small work is done before another thread has started.
    most = tiles * units * len(weights.scale) // _ENOUGH
    count = max(1, min(torch.get_num_threads(), tiles, most))
    edges = [tiles * part // count for part in range(count + 1)]
    run = functools.partial(_run, _compiled("sweep"), given, known, reduction == "inner")
    parts = _side_by_side(run, list(pairwise(edges)))
    raised = np.max([part[0] for part in parts], axis=0)
    found = np.concatenate([part[1] for part in parts])
    shares = np.concatenate([part[2] for part in parts])
    sample, output, position, _ = found[shares >= raised[found[:, 3]]].T
    spot = sample * positions + position  # samples may have been laid side by side
    outputs = len(weights.scale)
    key = torch.from_numpy(np.unique(spot * outputs + output))
    spot, output, each = key // outputs, key % outputs, math.prod(piece.positions)
    return torch.stack([spot // each, output, spot % each], dim=1)


def _side_by_side(run: Callable[[T], R], parts: Sequence[T]) -> list[R]:
    """Results of all parts, the first one made by this thread and each other by one of its own."""
    if len(parts) == 1:
        return [run(parts[0])]
    with ThreadPoolExecutor(len(parts) - 1) as pool:
        others = [pool.submit(run, part) for part in parts[1:]]
        return [run(parts[0]), *(other.result() for other in others)]


def _look_at_the_top(given: dict[str, Any], best: NDArray[np.float32], inner: bool) -> None:
    """Raise what is known of new units at once, so that no part of the search starts from 0."""
    new = best == 0
    if not new.any():
        return
    activations, inverse = (torch.from_numpy(given[name]) for name in ("activations", "inverse"))
    bounds = (activations * inverse[:, None]).numpy()
    where = bounds.argmax(axis=2)  # (n, U); torch takes ten times as long
    values = np.take_along_axis(bounds, where[:, :, None], axis=2)[:, :, 0]
    sample, unit = values.argmax(axis=0), np.arange(len(new))
    spots = sample * bounds.shape[2] + where[sample, unit]
    spots[~new | ~(values[sample, unit] > 0)] = -1
    names = ("inputs", "starts", "jumps", "kernels", "weights", "scale", "lower", "total", "slop")
    arguments = {name: given[name] for name in (*names, "width")}
    _compiled("seed")(spots, **arguments, inner=inner, best=best)


def _run(
    loops: Callable[..., int],  # `sweep.sweep`, compiled
    given: dict[str, Any],
    best: NDArray[np.float32],
    inner: bool,
    tiles: tuple[int, int],
) -> tuple[Any, Any, Any]:
    raised = best.copy()
    room = 8 * len(raised) + 1024
    while True:
        found, shares = np.empty((room, 4), np.int64), np.empty(room, np.float32)
        count = loops(tiles, **given, inner=inner, best=raised, found=found, shares=shares)
        if count >= 0:
            return raised, found[:count], shares[:count]
        room *= 4


def _arrays(
    piece: Piece, weights: Weights, norms: Norms, sums: Sums, order: Tensor
) -> dict[str, Any]:
    call = piece.call
    inputs = call.inputs.contiguous()
    each = inputs[0].numel()
    line = math.prod(inputs.shape[2:])
    spatial = torch.arange(line).view(inputs.shape[2:])
    seen = piece.windows_of(spatial[None, None])[0, 0]  # (*positions, *kernel)
    spots = seen.reshape(math.prod(piece.positions), -1)  # (P, T) places in one channel
    starts = torch.arange(len(inputs))[:, None] * each + spots[:, 0]
    taps = spots[0] - spots[0, 0]
    places, size = norms.places, len(taps)
    jumps = (places[:, :, None] * line + taps).flatten(1)
    kernels = (places[:, :, None] * size + torch.arange(size)).flatten(1)
    activations, lower, total = activation_norms(piece, places), sums.lower, sums.total
    if len(inputs) > 1 and total.shape[2] < 4 * sweep.TILE:  # short rows: samples side by side
        activations, total = (t.transpose(0, 1).flatten(1)[None] for t in (activations, total))
        lower = lower.transpose(1, 2).flatten(2)[:, None]
    slop = torch.zeros(len(weights.scale)) if sums.slop is None else sums.slop
    tensors = {
        "inputs": inputs.view(-1),
        "starts": starts.view(-1),
        "jumps": jumps,
        "kernels": kernels,
        "weights": weights.plain.flatten(1),
        "scale": weights.scale,
        "activations": activations,
        "lower": lower,
        "inverse": sums.smallest.reciprocal().reshape(len(total), -1),
        "total": total,
        "slop": slop,
        "norms": norms.norms,
        "order": order,
    }
    arrays = {name: tensor.contiguous().numpy() for name, tensor in tensors.items()}
    return {**arrays, "width": np.float32(sums.width)}
