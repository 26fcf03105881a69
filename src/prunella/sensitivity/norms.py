"""How large the activations are that a unit's kernels see."""

from __future__ import annotations

import torch
from torch import Tensor

from prunella.sensitivity.pieces import Piece

LEAST_SQUARE = 1e-18  # times an activation; a square may be too small for float32, its root not


def activation_norms(piece: Piece, places: Tensor) -> Tensor:
    """L2 norm of what each unit's kernels see, (n, U, P)."""
    inputs, call = piece.call.inputs, piece.call
    if places.shape[1] == 1 and set(call.weight.shape[2:]) == {1}:
        seen = single_inputs(piece, places)
        return seen.abs() if piece.signed else seen
    size = inputs.abs() if piece.signed else inputs
    squares = _boxes(size.square().add_(size, alpha=LEAST_SQUARE), piece).flatten(2)
    if _gaps(places, inputs):
        squares = squares[:, places].sum(dim=2)
    return squares.sqrt_()


def single_inputs(piece: Piece, places: Tensor) -> Tensor:
    """What kernels of one entry see, signs included, (n, U, P); places (U, 1)."""
    inputs = piece.call.inputs
    wanted = places[:, 0] if _gaps(places, inputs) else slice(None)
    where = (slice(None), wanted, *(slice(None, None, step) for step in piece.call.stride))
    return inputs[where].flatten(2)


def _gaps(places: Tensor, inputs: Tensor) -> bool:
    """Whether units are anything but the inputs one by one."""
    if places.shape != (inputs.shape[1], 1):
        return True
    return not bool((places[:, 0] == torch.arange(len(places), device=places.device)).all())


def _boxes(values: Tensor, piece: Piece) -> Tensor:
    """Sum over the kernel at each output position, one axis after the other."""
    call = piece.call
    for axis, (count, taps) in enumerate(zip(piece.positions, call.weight.shape[2:], strict=True)):
        step, gap, place = call.stride[axis], call.dilation[axis], 2 + axis
        parts = []
        for tap in range(taps):
            start = tap * gap
            index = [slice(None)] * values.ndim
            index[place] = slice(start, start + (count - 1) * step + 1, step)
            parts.append(values[tuple(index)])
        values = parts[0]
        if taps > 1:
            values = values + parts[1]  # a new tensor, and the others are added in place
        for part in parts[2:]:
            values.add_(part)
    return values
