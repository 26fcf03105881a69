"""The norms of `norms`, as loops over single numbers, to be compiled like those of `sweep`."""

from __future__ import annotations

from typing import Any

import numpy as np

from prunella.sensitivity.sweep import Floats, Integers


def box_norms(
    room: Floats,  # (2, D * H * W)
    rows: tuple[int, int],  # which units of all samples, first and last + 1
    inputs: Floats,  # (n, J, D * H * W)
    places: Integers,  # (U, k) of units among inputs
    shape: Integers,  # (3,) D, H and W; 1 for missing axes
    taps: Integers,  # (3,) of the kernel
    stride: Integers,  # (3,)
    gap: Integers,  # (3,) between entries of the kernel
    floor: np.float32,  # what a square may be too small for
    out: Floats,  # (n, U, *positions) with three axes of positions
) -> None:
    """Write the L2 norm of what each unit's kernels see.

    Whole planes are summed as if they were one row. What runs over the ends of lines is never read.
    """
    units = places.shape[0]
    size = inputs.shape[2]
    steps = (shape[1] * shape[2], shape[2], 1)
    for row in range(rows[0], rows[1]):
        sample, unit = row // units, row % units
        for owned in range(places.shape[1]):
            _add_squares(inputs, sample, places[unit, owned], floor, owned == 0, room)
        left, now = size, 0
        for axis in range(3):
            if taps[axis] == 1:
                continue
            shift = gap[axis] * steps[axis]
            left -= (taps[axis] - 1) * shift
            _add_shifted(room, now, shift, taps[axis], left)
            now = 1 - now
        _write_roots(room, now, steps, stride, out, sample, unit)


def _add_squares(
    inputs: Floats, sample: int, place: int, floor: Any, first: bool, room: Floats
) -> None:
    values, squares = inputs[sample, place], room[0]
    if first:
        for spot in range(len(values)):
            squares[spot] = values[spot] * values[spot] + floor * abs(values[spot])
    else:
        for spot in range(len(values)):
            squares[spot] += values[spot] * values[spot] + floor * abs(values[spot])


def _add_shifted(room: Floats, now: int, shift: int, taps: int, count: int) -> None:
    """Put into the other row what lies in one, at every place and further on, added up."""
    sums, values, second = room[1 - now, :count], room[now], room[now, shift : shift + count]
    if taps == 2:
        for spot in range(count):
            sums[spot] = values[spot] + second[spot]
        return
    third = room[now, 2 * shift : 2 * shift + count]
    for spot in range(count):
        sums[spot] = values[spot] + second[spot] + third[spot]
    for tap in range(3, taps):
        more = room[now, tap * shift : tap * shift + count]
        for spot in range(count):
            sums[spot] += more[spot]


def _write_roots(
    room: Floats, now: int, steps: Any, stride: Integers, out: Floats, sample: int, unit: int
) -> None:
    _, _, depths, heights, count = out.shape
    step = stride[2]
    for depth in range(depths):
        for height in range(heights):
            start = depth * stride[0] * steps[0] + height * stride[1] * steps[1]
            roots = out[sample, unit, depth, height]
            if step == 1:  # so that it runs on vectors
                line = room[now, start : start + count]
                for place in range(count):
                    roots[place] = np.sqrt(line[place])
            else:
                for place in range(count):
                    roots[place] = np.sqrt(room[now, start + place * step])
