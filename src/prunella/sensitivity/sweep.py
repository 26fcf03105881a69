"""The search of `search`, as loops over single numbers, to be compiled.

Written in the part of Python that Numba compiles; it runs as plain Python too, only slowly.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Integers = NDArray[np.int64] | NDArray[np.int32]

TILE = 64  # positions whose bounds are tried at once
STEP = 16  # and those among them that are then tried one by one, or not at all
ROUNDING = np.float32(1e-4)  # more than rounding takes from a share
MARGIN = np.float32(1 - 1e-3)  # what rounding may take from the bounds from norms, generously
TINY = np.float32(1e-30)
INFINITY = np.float32(np.inf)
ONE, TWO, ZERO = np.float32(1), np.float32(2), np.float32(0)


def sweep(
    tiles: tuple[int, int],  # which tiles of all samples, first and last + 1
    inputs: Floats,  # all activations, in one row
    starts: Integers,  # (n * P,) where each position's window begins in there
    jumps: Integers,  # (U, k * T) from there to what a unit's kernel sees
    kernels: Integers,  # (U, k * T) and to the weights for it, in a row of `weights`
    weights: Floats,  # (I, J * T)
    scale: Floats,  # (I,)
    activations: Floats,  # (n, U, P)
    lower: Floats,  # (2, n, I, P)
    inverse: Floats,  # (n, P) one over the smallest of `lower`
    total: Floats,  # (n, I, P)
    width: np.float32,
    slop: Floats,  # (I,)
    norms: Floats,  # (S, U, I)
    order: Integers,  # (S, U, I) outputs by falling norm
    inner: bool,
    best: Floats,  # (U,), raised
    found: Integers,  # (K, 4) sample, output, position and unit, filled from the start
    shares: Floats,  # (K,) their shares at most
) -> int:
    """Find the shares that may be the largest of their unit; see `search`.

    Returns:
        How many were found; -1 if there is no room for all of them. `best` has risen then.
    """
    units, positions = activations.shape[1:]
    outputs = lower.shape[2]
    row = (positions + TILE - 1) // TILE
    block = np.empty((2, outputs, TILE), dtype=np.float32)
    seen = np.empty((units, TILE), dtype=np.float32)
    highest = np.empty(units, dtype=np.float32)
    kinds = norms.shape[0]
    count = 0
    for tile in range(tiles[0], tiles[1]):
        sample = tile // row
        first = (tile - sample * row) * TILE
        _copy_sums(lower, sample, first, block)
        _copy_activations(activations, inverse, sample, first, seen, highest)
        for unit in range(units):
            factor = TWO / max(best[unit] * MARGIN, TINY)
            for sign in range(2):
                kind = sign if kinds == 2 else 0
                for rank in range(outputs):
                    output = order[kind, unit, rank]
                    norm = norms[kind, unit, output]
                    if norm * factor * highest[unit] <= ONE:
                        break  # and all that follow have smaller norms
                    if not _any_above(seen, unit, norm * factor, block, sign, output, 0, TILE):
                        continue
                    count = _try_places(
                        inputs, starts, jumps, kernels, weights, scale, seen, block, total, width,
                        slop, norm, inner, best, found, shares, count, sample, first, unit, sign,
                        output,
                    )  # fmt: skip
                    if count < 0:
                        return -1
                    factor = TWO / max(best[unit] * MARGIN, TINY)
    return _without_beaten(best, found, shares, count)


def seed(
    spots: Integers,  # (U,) sample * P + position, the most promising one of each unit, or -1
    inputs: Floats, starts: Integers, jumps: Integers, kernels: Integers, weights: Floats,
    scale: Floats, lower: Floats, total: Floats, width: np.float32, slop: Floats,
    inner: bool, best: Floats,
) -> None:  # fmt: skip
    """Raise the largest known share of some units by one position each; arguments as of `sweep`."""
    outputs, positions = lower.shape[2:]
    for unit in range(len(spots)):
        if spots[unit] < 0:
            continue
        sample = spots[unit] // positions
        position = spots[unit] - sample * positions
        start = starts[spots[unit]]
        for sign in range(2):
            for output in range(outputs):
                below = lower[sign, sample, output, position]
                if below == INFINITY:
                    continue
                part = _part(inputs, start, jumps, kernels, unit, weights, output, sign, inner)
                part *= TWO * scale[output]
                above = below + width * total[sample, output, position] + slop[output]
                best[unit] = max(best[unit], part / above * (ONE - ROUNDING))


def _try_places(
    inputs: Floats, starts: Integers, jumps: Integers, kernels: Integers, weights: Floats,
    scale: Floats, seen: Floats, block: Floats, total: Floats, width: np.float32, slop: Floats,
    norm: Any, inner: bool, best: Floats, found: Integers, shares: Floats, count: int,
    sample: int, first: int, unit: int, sign: int, output: int,
) -> int:  # fmt: skip
    """Bound single shares of a tile from both sides; how many are found by now, or -1."""
    for corner in range(0, TILE, STEP):
        bound = norm * TWO / max(best[unit] * MARGIN, TINY)
        if not _any_above(seen, unit, bound, block, sign, output, corner, STEP):
            continue
        for place in range(corner, corner + STEP):
            below = block[sign, output, place]
            if below == INFINITY or TWO * seen[unit, place] * norm <= below * best[unit] * MARGIN:
                continue
            position = first + place
            start = starts[sample * total.shape[2] + position]
            part = _part(inputs, start, jumps, kernels, unit, weights, output, sign, inner)
            part *= TWO * scale[output]
            most = part / below * (ONE + ROUNDING)
            if most < best[unit] or most == ZERO:
                continue
            above = below + width * total[sample, output, position] + slop[output]
            best[unit] = max(best[unit], part / above * (ONE - ROUNDING))
            if count == len(shares):
                count = _without_beaten(best, found, shares, count)
                if count > len(shares) // 2:
                    return -1
            found[count, 0] = sample
            found[count, 1] = output
            found[count, 2] = position
            found[count, 3] = unit
            shares[count] = most
            count += 1
    return count


def _copy_sums(lower: Floats, sample: int, first: int, block: Floats) -> None:
    """One tile of the sums."""
    size = min(TILE, lower.shape[3] - first)
    for sign in range(2):
        for output in range(lower.shape[2]):
            below = lower[sign, sample, output, first : first + size]
            for place in range(size):
                block[sign, output, place] = below[place]
            for place in range(size, TILE):
                block[sign, output, place] = INFINITY


def _copy_activations(
    activations: Floats, inverse: Floats, sample: int, first: int, seen: Floats, highest: Floats
) -> None:
    """One tile of the activations, and their largest products with `inverse`."""
    size = min(TILE, activations.shape[2] - first)
    quotients = np.empty(TILE, dtype=np.float32)
    factors = inverse[sample, first : first + size]
    for unit in range(activations.shape[1]):
        values = activations[sample, unit, first : first + size]
        for place in range(size):
            seen[unit, place] = values[place]
        for place in range(size, TILE):
            seen[unit, place] = ZERO
        for place in range(size):
            quotients[place] = values[place] * factors[place]
        for place in range(size, TILE):
            quotients[place] = ZERO
        half = TILE // 2
        while half:  # by halves, so that it runs on vectors
            for place in range(half):
                quotients[place] = max(quotients[place], quotients[place + half])
            half //= 2
        highest[unit] = quotients[0]


def _any_above(
    seen: Floats, unit: int, bound: Any, block: Floats, sign: int, output: int,
    first: int, size: int,
) -> bool:  # fmt: skip
    above = False
    for place in range(first, first + size):  # no way out, so that it runs on vectors
        above |= seen[unit, place] * bound > block[sign, output, place]
    return above


def _part(
    inputs: Floats,
    start: int,
    jumps: Integers,
    kernels: Integers,
    unit: int,
    weights: Floats,
    output: int,
    sign: int,
    inner: bool,
) -> Any:
    """A unit's part of one sum: the products of that sign, added up or the largest."""
    part, flip = ZERO, ONE - TWO * np.float32(sign)
    for tap in range(jumps.shape[1]):
        product = flip * weights[output, kernels[unit, tap]] * inputs[start + jumps[unit, tap]]
        # Both without a branch, which the signs of weights would lead astray.
        part = part + max(product, ZERO) if inner else max(part, product)
    return part


def _without_beaten(best: Floats, found: Integers, shares: Floats, count: int) -> int:
    """Forget shares that others have beaten since; how many are left."""
    left = 0
    for number in range(count):
        if shares[number] >= best[found[number, 3]]:
            for column in range(4):
                found[left, column] = found[number, column]
            shares[left] = shares[number]
            left += 1
    return left
