"""The search on a CPU as machine code, where Numba is installed."""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from prunella.sensitivity import sweep
from prunella.sensitivity.consumers import Norms, Weights
from prunella.sensitivity.norms import activation_norms
from prunella.sensitivity.pieces import Piece
from prunella.sensitivity.shares import Reduction
from prunella.sensitivity.sums import Sums

# Compiled one by one; the rest of that module is data.
_HELPERS = (
    "_copy_sums",
    "_copy_activations",
    "_any_above",
    "_part",
    "_try_places",
    "_without_beaten",
)


@functools.cache
def available() -> bool:
    """Whether Numba is installed."""
    return find_spec("numba") is not None


@functools.cache
def _compiled() -> Callable[..., int]:
    """Compiled on first use, and kept on disk by Numba for the next process."""
    numba = importlib.import_module("numba")
    compile_ = numba.njit(nogil=True, cache=True)
    for name in _HELPERS:
        helper = getattr(sweep, name)
        if not hasattr(helper, "py_func"):
            setattr(sweep, name, compile_(helper))
    compiled: Callable[..., int] = compile_(sweep.sweep)
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
    samples, _, positions = given["activations"].shape
    tiles = samples * -(-positions // sweep.TILE)
    count = min(torch.get_num_threads(), tiles)
    edges = [tiles * part // count for part in range(count + 1)]
    run = functools.partial(_run, given, best, reduction == "inner")
    if count == 1:
        parts = [run((0, tiles))]
    else:
        with ThreadPoolExecutor(count) as pool:
            parts = list(pool.map(run, pairwise(edges)))
    raised = np.max([part[0] for part in parts], axis=0)
    found = np.concatenate([part[1] for part in parts])
    shares = np.concatenate([part[2] for part in parts])
    sample, output, position, _ = found[shares >= raised[found[:, 3]]].T
    spot = sample * positions + position  # samples may have been laid side by side
    outputs = len(weights.scale)
    key = torch.from_numpy(np.unique(spot * outputs + output))
    spot, output, each = key // outputs, key % outputs, math.prod(piece.positions)
    return torch.stack([spot // each, output, spot % each], dim=1)


def _run(
    given: dict[str, Any], best: Tensor, inner: bool, tiles: tuple[int, int]
) -> tuple[Any, Any, Any]:
    raised = best.numpy().copy()
    room = 8 * len(raised) + 1024
    while True:
        found, shares = np.empty((room, 4), np.int64), np.empty(room, np.float32)
        count = _compiled()(tiles, **given, inner=inner, best=raised, found=found, shares=shares)
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
