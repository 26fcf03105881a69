"""The search of `search`, as loops over single numbers, to be compiled.

Written in the part of Python that Numba compiles; it runs as plain Python too, only slowly. One
tile of positions after the other: its sums are bounded and its activations copied. In each part of
a tile a unit is tried against the sums by falling norm of its weights, until the bound over all
sums rules out the rest; a sum counts if it is small enough somewhere in the part, and then at the
positions where it is. What is left is computed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Integers = NDArray[np.int64] | NDArray[np.int32]

STEP = 16  # of which tiles are multiples
PART = 32  # positions of a tile that are searched at once; larger tiles are multiples of it
SCOUTED = 16  # of so many tiles one is looked at first, where units are new
SCOUTED_SUMS = 64  # of so many sums, those with the largest weights
HITS = 4096  # pairs of unit and sum that are found in one go, and some more
ROUNDING = np.float32(1e-4)  # more than rounding takes from a share
MARGIN = np.float32(1 - 1e-3)  # what rounding may take from the bounds from norms, generously
TINY = np.float32(1e-30)
HUGE = np.float32(3e38)
INFINITY = np.float32(np.inf)
ONE, TWO, ZERO = np.float32(1), np.float32(2), np.float32(0)


def room_for(units: int, outputs: int, tile: int) -> tuple[Any, ...]:
    """What `sweep` works in: compiled code that makes arrays counts the users of all arrays."""
    part = min(PART, tile)
    parts = tile // part
    quotients = np.empty(part, dtype=np.float32)
    return (
        # One part more than is used: rows a power of two apart would share a place in the cache.
        np.zeros((units, parts + 1, part), dtype=np.float32),
        np.full((2 * outputs, parts + 1, part), INFINITY, dtype=np.float32),
        np.empty((parts, part), dtype=np.float32),
        np.empty((parts, units), dtype=np.float32),
        np.empty((parts, 2 * outputs), dtype=np.float32),
        quotients,
        quotients.view(np.int32),
        np.empty((3, 2 * outputs + HITS), dtype=np.int64),
        np.empty(part, dtype=np.int64),
    )


def sweep(
    room: tuple[Any, ...],  # from `room_for`
    tiles: tuple[int, int],  # which tiles of all samples, first and last + 1
    tile: int,  # positions in each, a multiple of STEP
    inputs: Floats,  # all activations, in one row
    length: int,  # of one sample in there
    spots: Integers,  # (P,) where each position's window begins in a sample
    places: Integers,  # (U, k) of the units among the inputs
    line: int,  # from one input to the next
    jumps: Integers,  # (T,) from one entry of the kernel to the others
    weights: Floats,  # (I, J, T)
    scale: Floats,  # (I,)
    activations: Floats,  # (n, U, P), or their negatives
    total: Floats,  # (n, I, P)
    results: Floats,  # (n, I, P)
    offset: Floats,  # (2, I)
    lower: Floats,  # (2, n, I, P) the sums themselves, or empty: to be had from those three
    width: np.float32,
    slop: Floats,  # (I,)
    norms: Floats,  # (U, E) falling
    rows: Integers,  # (U, E) the sums that have these norms: the output, plus I if negative
    inner: bool,
    scouting: bool,  # whether to look at some tiles' most promising cells first
    best: Floats,  # (U,), raised
    doubtful: NDArray[np.bool_],  # (n, P), set where bounds of sums are not positive; left out
    found: Integers,  # (K, 5) sample, output, position, sign and unit, filled from the start
    shares: Floats,  # (K,) their shares at most
) -> int:
    """Find the shares that may be the largest of their unit; see `search`.

    Returns:
        How many were found; -1 if there is no room for all of them. `best` has risen then.
    """
    samples, units, positions = activations.shape
    outputs = len(scale)
    side = max(1, tile // positions)  # samples side by side in one tile
    tall = (positions + tile - 1) // tile
    seen, block, inverse, highest, nearest, quotients, bits, hits, chosen = room
    area = len(quotients)
    count = 0
    for phase in range(0 if scouting else 1, 2):
        for number in range(tiles[0], tiles[1], SCOUTED if phase == 0 else 1):
            sample = number // tall * side
            first = number % tall * tile
            many = min(side, samples - sample)
            size = min(tile, positions - first)
            parts = (many * size + area - 1) // area
            least = inverse.reshape(-1)
            sums = block.reshape(2 * outputs, -1)
            if lower.shape[1] > 0:
                _copy_sums(lower, sample, first, many, size, sums, least)
            else:
                _bound_sums(
                    total, results, offset, scale, sample, first, many, size, sums, least, doubtful
                )
            _invert(least)
            _copy_activations(
                activations, sample, first, many, size, inverse, seen, highest, quotients, bits
            )
            _smallest(block, inverse, parts, nearest, quotients, bits)
            for turn in range(parts if phase else 1):
                part, following = turn, 0
                while following < units:
                    if phase == 0:
                        following, pairs = _above_at_top(
                            seen, inverse, highest, following, best, norms, rows, block, hits
                        )
                    else:
                        following, pairs = _above(
                            seen, part, following, best, highest, norms, rows, block, nearest, hits
                        )
                    for hit in range(pairs):
                        unit, rank = hits[0, hit], hits[1, hit]
                        row = rows[unit, rank]
                        output, sign = row % outputs, row // outputs
                        # Of what is known by now, which hits before this one have raised.
                        bound = norms[unit, rank] * _factor(best[unit])
                        if phase > 0:
                            cells = _places(seen, part, unit, bound, block, row, chosen)
                        else:
                            part, top = hits[2, hit] // area, hits[2, hit] % area
                            chosen[0] = top
                            cells = int(seen[unit, part, top] * bound > block[row, part, top])
                        for choice in range(cells):
                            spot = part * area + chosen[choice]
                            where, position = sample, first + spot
                            if side > 1:
                                where, position = sample + spot // size, spot % size
                            share = _part(
                                inputs, where * length + spots[position], places[unit], line,
                                jumps, weights[output], sign, inner,
                            ) * TWO * scale[output]  # fmt: skip
                            below = block[row, part, chosen[choice]]
                            most = share / below * (ONE + ROUNDING)
                            if most < best[unit] or most == ZERO:
                                continue
                            above = below + width * total[where, output, position]
                            share = share / (above + slop[output]) * (ONE - ROUNDING)
                            best[unit] = max(best[unit], share)
                            if count == len(shares):
                                count = _without_beaten(best, found, shares, count)
                                if count > len(shares) // 2:
                                    return -1
                            found[count, 0] = where
                            found[count, 1] = output
                            found[count, 2] = position
                            found[count, 3] = sign
                            found[count, 4] = unit
                            shares[count] = most
                            count += 1
    return _without_beaten(best, found, shares, count)


def _bound_sums(
    total: Floats, results: Floats, offset: Floats, scale: Floats, sample: int, first: int,
    many: int, size: int, sums: Floats, least: Floats, doubtful: NDArray[np.bool_],
) -> None:  # fmt: skip
    """One tile of `sums.bounded_sums`, and the smallest of them at each position."""
    outputs = len(scale)
    least[:] = INFINITY
    for output in range(outputs):
        factor, plus, minus = scale[output], offset[0, output], offset[1, output]
        for other in range(many):
            start = other * size
            whole = total[sample + other, output, first : first + size]
            result = results[sample + other, output, first : first + size]
            upper = sums[output, start : start + size]
            under = sums[outputs + output, start : start + size]
            here = least[start : start + size]
            for place in range(size):
                difference = factor * result[place]
                up, down = whole[place] + difference + plus, whole[place] - difference + minus
                # 0 too for what is no number.
                up, down = up if up > ZERO else ZERO, down if down > ZERO else ZERO
                upper[place] = up
                under[place] = down
                here[place] = min(here[place], min(up, down))
    for other in range(many):
        for place in range(size):
            spot = other * size + place
            if least[spot] == ZERO:
                least[spot] = INFINITY
                sums[:, spot] = INFINITY
                doubtful[sample + other, first + place] = True


def _copy_sums(
    lower: Floats, sample: int, first: int, many: int, size: int, sums: Floats, least: Floats
) -> None:
    """One tile of sums that are known already."""
    outputs = lower.shape[2]
    least[:] = INFINITY
    for sign in range(2):
        for output in range(outputs):
            for other in range(many):
                start = other * size
                values = lower[sign, sample + other, output, first : first + size]
                copy = sums[sign * outputs + output, start : start + size]
                here = least[start : start + size]
                for place in range(size):
                    copy[place] = values[place]
                    here[place] = min(here[place], values[place])


def _invert(values: Floats) -> None:
    """Not to 0, with which infinity would make what is no number."""
    for place in range(len(values)):
        values[place] = max(ONE / values[place], TINY)


def _copy_activations(
    activations: Floats, sample: int, first: int, many: int, size: int, inverse: Floats,
    seen: Floats, highest: Floats, quotients: Floats, bits: Integers,
) -> None:  # fmt: skip
    """One tile of the activations, without their signs; the largest over the smallest sums."""
    for unit in range(len(seen)):
        row = seen[unit].reshape(-1)
        for other in range(many):
            values = activations[sample + other, unit, first : first + size]
            copy = row[other * size : other * size + size]
            for place in range(size):
                copy[place] = abs(values[place])
        rest = row[many * size :]
        for place in range(len(rest)):
            rest[place] = ZERO
        for part in range(len(inverse)):
            here, factors = seen[unit, part], inverse[part]
            for place in range(len(here)):
                quotients[place] = here[place] * factors[place]
            # Not negative, so in the order of their bits; a maximum of integers runs on vectors.
            top = bits[0]
            for place in range(len(bits)):
                top = max(top, bits[place])
            bits[0] = top
            highest[part, unit] = quotients[0]


def _smallest(
    block: Floats, inverse: Floats, parts: int, nearest: Floats, quotients: Floats, bits: Integers
) -> None:
    """How near each sum comes to the smallest one, in each part: their smallest quotient."""
    for row in range(len(block)):
        for part in range(parts):
            values, factors = block[row, part], inverse[part]
            for place in range(len(values)):
                quotients[place] = min(values[place] * factors[place], HUGE)
            low = bits[0]
            for place in range(len(bits)):
                low = min(low, bits[place])
            bits[0] = low
            nearest[part, row] = quotients[0]


def _factor(best: Any) -> Any:
    """What a unit's part of a sum is multiplied with, to be compared with the sum."""
    return TWO / max(best * MARGIN, TINY)


def _above(
    seen: Floats, part: int, first: int, best: Floats, highest: Floats, norms: Floats,
    rows: Integers, block: Floats, nearest: Floats, hits: Integers,
) -> tuple[int, int]:  # fmt: skip
    """The units from the first on, and ranks of the sums, whose shares may be above the largest.

    Returns:
        The unit to go on with, and how many pairs there are up to there.
    """
    count, full, unit, near = 0, hits.shape[1] - norms.shape[1], first, nearest[part]
    while unit < len(seen) and count <= full:
        factor = _factor(best[unit])
        high = highest[part, unit] * factor
        values, sizes, order = seen[unit, part], norms[unit], rows[unit]
        for rank in range(len(sizes)):
            reach = sizes[rank] * high
            if not reach > ONE:
                break  # and all that follow have smaller norms
            row = order[rank]
            if reach <= near[row]:
                continue
            hits[0, count] = unit
            hits[1, count] = rank
            count += _any_above(values, sizes[rank] * factor, block[row, part])
        unit += 1
    return unit, count


def _any_above(values: Floats, bound: Any, limits: Floats) -> bool:
    """Whether a value times the bound is above its limit."""
    # On vectors: no way out, no number of turns known beforehand, no index from the end.
    above = False
    for place in range(len(values)):
        above |= values[place] * bound > limits[place]
    return above


def _above_at_top(
    seen: Floats, inverse: Floats, highest: Floats, first: int, best: Floats, norms: Floats,
    rows: Integers, block: Floats, hits: Integers,
) -> tuple[int, int]:  # fmt: skip
    """The same at each unit's most promising position only, which is noted, in all of the tile."""
    count, full, unit, area = 0, hits.shape[1] - norms.shape[1], first, seen.shape[2]
    while unit < len(seen) and count <= full:
        part, most, top = 0, ZERO, 0
        for other in range(len(highest)):
            if highest[other, unit] > highest[part, unit]:
                part = other
        for place in range(area):
            quotient = seen[unit, part, place] * inverse[part, place]
            if quotient > most:
                most, top = quotient, place
        factor = _factor(best[unit])
        reach = seen[unit, part, top] * factor
        ranks = min(norms.shape[1], SCOUTED_SUMS)
        for rank in range(ranks if most * factor * norms[unit, 0] > ONE else 0):
            hits[0, count] = unit
            hits[1, count] = rank
            hits[2, count] = part * area + top
            count += reach * norms[unit, rank] > block[rows[unit, rank], part, top]
        unit += 1
    return unit, count


def _places(
    seen: Floats, part: int, unit: int, bound: Any, block: Floats, row: int, places: Integers
) -> int:
    """The positions where a unit's share of a sum may be above the largest; how many."""
    values, limits, count = seen[unit, part], block[row, part], 0
    for place in range(len(values)):
        places[count] = place
        count += values[place] * bound > limits[place]
    return count


def _part(
    inputs: Floats, start: int, places: Integers, line: int, jumps: Integers, weights: Floats,
    sign: int, inner: bool,
) -> Any:  # fmt: skip
    """A unit's part of one sum: the products of that sign, added up or the largest."""
    part, flip = ZERO, ONE - TWO * np.float32(sign)
    for owned in range(len(places)):
        kernel, first = weights[places[owned]], start + places[owned] * line
        for tap in range(len(jumps)):
            product = flip * kernel[tap] * inputs[first + jumps[tap]]
            # Both without a branch, which the signs of weights would lead astray.
            part = part + max(product, ZERO) if inner else max(part, product)
    return part


def _without_beaten(best: Floats, found: Integers, shares: Floats, count: int) -> int:
    """Forget shares that others have beaten since; how many are left."""
    left = 0
    for number in range(count):
        if shares[number] >= best[found[number, 4]]:
            for column in range(5):
                found[left, column] = found[number, column]
            shares[left] = shares[number]
            left += 1
    return left
