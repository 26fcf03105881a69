"""The search of `search`, as loops over single numbers, to be compiled.

Written in the part of Python that Numba compiles; it runs as plain Python too, only slowly. One
tile of positions after the other: its sums are bounded and its activations copied, part by part.
In each part a unit is tried against the outputs by falling norm, all positions at once, until the
bound over all outputs rules out the rest. What is left is computed.
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
ROUNDING = np.float32(1e-4)  # more than rounding takes from a share
MARGIN = np.float32(1 - 1e-3)  # what rounding may take from the bounds from norms, generously
TINY = np.float32(1e-30)
INFINITY = np.float32(np.inf)
ONE, TWO, ZERO = np.float32(1), np.float32(2), np.float32(0)


def room_for(units: int, outputs: int, tile: int) -> tuple[Any, ...]:
    """What `sweep` works in: compiled code that makes arrays counts the users of all arrays."""
    part = min(PART, tile)
    quotients = np.empty(part, dtype=np.float32)
    return (
        np.empty((tile // part, units, part), dtype=np.float32),
        np.full((tile // part, 2, outputs, part), INFINITY, dtype=np.float32),
        np.empty(tile, dtype=np.float32),
        np.empty(tile, dtype=np.float32),
        np.empty((tile // part, units), dtype=np.float32),
        quotients,
        quotients.view(np.int32),
        np.empty(outputs, dtype=np.int64),
        np.empty(part, dtype=np.int64),
    )


def sweep(
    room: tuple[Any, ...],  # from `room_for`
    tiles: tuple[int, int],  # which tiles of all samples, first and last + 1
    tile: int,  # positions in each, a multiple of STEP
    inputs: Floats,  # all activations, in one row
    length: int,  # of one sample in there
    spots: Integers,  # (P,) where each position's window begins in a sample
    jumps: Integers,  # (U, k * T) from there to what a unit's kernel sees
    weights: Floats,  # (U, I, k * T) and the weights for it
    scale: Floats,  # (I,)
    activations: Floats,  # (n, U, P), or their negatives
    total: Floats,  # (n, I, P)
    results: Floats,  # (n, I, P)
    offset: Floats,  # (2, I)
    lower: Floats,  # (2, n, I, P) the sums themselves, or empty: to be had from those three
    width: np.float32,
    slop: Floats,  # (I,)
    norms: Floats,  # (S, U, I) falling
    order: Integers,  # (S, U, I) the outputs that have these norms
    largest: Floats,  # (U,)
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
    kinds = len(norms)
    side = max(1, tile // positions)  # samples side by side in one tile
    tall = (positions + tile - 1) // tile
    seen, block, least, inverse, highest, quotients, bits, ranks, places = room
    parts, _, area = seen.shape
    count = 0
    for phase in range(0 if scouting else 1, 2):
        for number in range(tiles[0], tiles[1], SCOUTED if phase == 0 else 1):
            sample = number // tall * side
            first = number % tall * tile
            many = min(side, samples - sample)
            size = min(tile, positions - first)
            if lower.shape[1] > 0:
                _copy_sums(lower, sample, first, many, size, block, least)
            else:
                _bound_sums(
                    total, results, offset, scale, sample, first, many, size, block, least,
                    doubtful,
                )  # fmt: skip
            _copy_activations(
                activations, sample, first, many, size, least, seen, inverse, highest, quotients,
                bits,
            )  # fmt: skip
            for part in range(parts if phase else 1):
                for unit in range(units):
                    factor = TWO / max(best[unit] * MARGIN, TINY)
                    high = highest[part, unit] * factor
                    if high * largest[unit] <= ONE:
                        continue
                    for sign in range(2):
                        kind = sign if kinds == 2 else 0
                        if high * norms[kind, unit, 0] <= ONE:
                            continue
                        if phase == 0:
                            places[0] = _top(seen, unit, inverse)
                            hits = _above_at(
                                seen, unit, places[0], factor, norms, order, kind, block, sign,
                                ranks,
                            )  # fmt: skip
                        else:
                            hits = _above(
                                seen, part, unit, factor, high, norms, order, kind, block, sign,
                                ranks,
                            )  # fmt: skip
                        for hit in range(hits):
                            output = order[kind, unit, ranks[hit]]
                            chosen = 1
                            if phase > 0:
                                norm = norms[kind, unit, ranks[hit]]
                                bound = norm * TWO / max(best[unit] * MARGIN, TINY)
                                chosen = _places(
                                    seen, part, unit, bound, block, sign, output, places
                                )
                            for choice in range(chosen):
                                spot = part * area + places[choice]
                                where, position = sample, first + spot
                                if side > 1:
                                    where, position = sample + spot // size, spot % size
                                share = _part(
                                    inputs, where * length + spots[position], jumps, weights, unit,
                                    output, sign, inner,
                                ) * TWO * scale[output]  # fmt: skip
                                below = block[part, sign, output, places[choice]]
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
    many: int, size: int, block: Floats, least: Floats, doubtful: NDArray[np.bool_],
) -> None:  # fmt: skip
    """One tile of `sums.bounded_sums`, and the smallest of them at each position."""
    outputs, area = len(scale), block.shape[3]
    least[:] = INFINITY
    for output in range(outputs):
        factor, plus, minus = scale[output], offset[0, output], offset[1, output]
        for other in range(many):
            at = other * size
            done = 0
            while done < size:
                part, start = (at + done) // area, (at + done) % area
                length = min(area - start, size - done)
                whole = total[sample + other, output, first + done : first + done + length]
                result = results[sample + other, output, first + done : first + done + length]
                upper = block[part, 0, output, start : start + length]
                under = block[part, 1, output, start : start + length]
                here = least[at + done : at + done + length]
                for place in range(length):
                    difference = factor * result[place]
                    up, down = whole[place] + difference + plus, whole[place] - difference + minus
                    # 0 too for what is no number.
                    up, down = up if up > ZERO else ZERO, down if down > ZERO else ZERO
                    upper[place] = up
                    under[place] = down
                    here[place] = min(here[place], min(up, down))
                done += length
    for other in range(many):
        for place in range(size):
            spot = other * size + place
            if least[spot] == ZERO:
                least[spot] = INFINITY
                block[spot // area, :, :, spot % area] = INFINITY
                doubtful[sample + other, first + place] = True


def _copy_sums(
    lower: Floats, sample: int, first: int, many: int, size: int, block: Floats, least: Floats
) -> None:
    """One tile of sums that are known already."""
    area = block.shape[3]
    least[:] = INFINITY
    for sign in range(2):
        for output in range(lower.shape[2]):
            for other in range(many):
                values = lower[sign, sample + other, output, first : first + size]
                for place in range(size):
                    spot = other * size + place
                    block[spot // area, sign, output, spot % area] = values[place]
                    least[spot] = min(least[spot], values[place])


def _copy_activations(
    activations: Floats, sample: int, first: int, many: int, size: int, least: Floats,
    seen: Floats, inverse: Floats, highest: Floats, quotients: Floats, bits: Integers,
) -> None:  # fmt: skip
    """One tile of the activations, without their signs, and the largest over the smallest sum."""
    parts, units, area = seen.shape
    for place in range(len(least)):
        inverse[place] = ONE / least[place]
    for unit in range(units):
        for part in range(parts):
            copy = seen[part, unit]
            done = 0
            while done < area:
                spot = part * area + done
                other, start = spot // size, spot % size
                if other >= many:
                    break
                length = min(area - done, size - start)
                values = activations[sample + other, unit, first + start : first + start + length]
                target = copy[done : done + length]
                for place in range(length):
                    target[place] = abs(values[place])
                done += length
            for place in range(done, area):
                copy[place] = ZERO
            factors = inverse[part * area : part * area + area]
            for place in range(area):
                quotients[place] = copy[place] * factors[place]
            # Not negative, so in the order of their bits; a maximum of integers runs on vectors.
            top = bits[0]
            for place in range(len(bits)):
                top = max(top, bits[place])
            bits[0] = top
            highest[part, unit] = quotients[0]


def _top(seen: Floats, unit: int, inverse: Floats) -> int:
    """A unit's most promising position in the first part of a tile."""
    highest, top = ZERO, 0
    for place in range(seen.shape[2]):
        quotient = seen[0, unit, place] * inverse[place]
        if quotient > highest:
            highest, top = quotient, place
    return top


def _above(
    seen: Floats, part: int, unit: int, factor: Any, high: Any, norms: Floats, order: Integers,
    kind: int, block: Floats, sign: int, ranks: Integers,
) -> int:  # fmt: skip
    """The ranks of the outputs of which a unit's share may be above the largest; how many."""
    values, count = seen[part, unit], 0
    for rank in range(norms.shape[2]):
        norm = norms[kind, unit, rank]
        if norm * high <= ONE:
            break  # and all that follow have smaller norms
        bound, limits = norm * factor, block[part, sign, order[kind, unit, rank]]
        above = False
        # On vectors: no way out, no number of turns known beforehand, no index from the end.
        for place in range(len(values)):
            above |= values[place] * bound > limits[place]
        ranks[count] = rank
        count += above
    return count


def _above_at(
    seen: Floats, unit: int, place: int, factor: Any, norms: Floats, order: Integers, kind: int,
    block: Floats, sign: int, ranks: Integers,
) -> int:  # fmt: skip
    """The same at one position only."""
    count = 0
    for rank in range(norms.shape[2]):
        limit = block[0, sign, order[kind, unit, rank], place]
        ranks[count] = rank
        count += seen[0, unit, place] * norms[kind, unit, rank] * factor > limit
    return count


def _places(
    seen: Floats, part: int, unit: int, bound: Any, block: Floats, sign: int, output: int,
    places: Integers,
) -> int:  # fmt: skip
    """The positions where a unit's share of an output may be above the largest; how many."""
    values, limits, count = seen[part, unit], block[part, sign, output], 0
    for place in range(len(values)):
        places[count] = place
        count += values[place] * bound > limits[place]
    return count


def _part(
    inputs: Floats, start: int, jumps: Integers, weights: Floats, unit: int, output: int,
    sign: int, inner: bool,
) -> Any:  # fmt: skip
    """A unit's part of one sum: the products of that sign, added up or the largest."""
    part, flip = ZERO, ONE - TWO * np.float32(sign)
    for tap in range(jumps.shape[1]):
        product = flip * weights[unit, output, tap] * inputs[start + jumps[unit, tap]]
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
