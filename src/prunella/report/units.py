"""Numbers as people write them: 272,186; 40.6 M; 1.60 ms; 44.8 %.

A no-break space stands between number and unit, so that no line ends between them.
"""

from __future__ import annotations

import math

from prunella.core import certificate_words

SPACE = "\u00a0"
MINUS = "\u2212"
_COUNTS = ((1e12, "T"), (1e9, "G"), (1e6, "M"))
_SIZES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_TIMES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_ALMOST_ONE = 0.9995  # what three digits would round up to the next unit


def significant(value: float) -> str:
    """Three significant digits without an exponent; more digits before the point are kept."""
    if not math.isfinite(value):
        return "not finite"
    size = abs(value)
    digits = 2 if size < 9.995 else 1 if size < 99.95 else 0
    if 0 < size < 0.995:
        digits = 2 - math.floor(math.log10(size) + 1e-12)
    text = f"{value:,.{min(digits, 9)}f}"
    return text.replace("-", MINUS)


def exact(number: int) -> str:
    """All digits, in groups of three."""
    return f"{number:,}".replace("-", MINUS)


def count(number: int) -> str:
    """All digits below a million, three significant ones above."""
    for factor, unit in _COUNTS:
        if number >= factor * _ALMOST_ONE and number >= 1e6:
            return f"{significant(number / factor)}{SPACE}{unit}"
    return exact(number)


def size(number: int) -> str:
    """A number of bytes in decimal units."""
    for factor, unit in _SIZES:
        if number >= factor * _ALMOST_ONE:
            return f"{significant(number / factor)}{SPACE}{unit}"
    return f"{number}{SPACE}bytes"


def seconds(value: float) -> str:
    """A time in the unit that leaves one to three digits before the point."""
    if value == 0 or not math.isfinite(value):
        return f"{significant(value)}{SPACE}s"
    for factor, unit in _TIMES:
        if abs(value) >= factor * _ALMOST_ONE:
            return f"{significant(value / factor)}{SPACE}{unit}"
    return f"{value:.3g}{SPACE}s"


def share(fraction: float, digits: int = 1) -> str:
    """A fraction in per cent; never rounded to 0 % or 100 % when it is not that."""
    if not math.isfinite(fraction):
        return "not finite"
    step = 10.0**-digits
    percent = 100 * fraction
    if 0 < percent < step / 2:
        return f"<{step:.{digits}f}{SPACE}%"
    if 100 - step / 2 <= percent < 100:
        return f">{100 - step:.{digits}f}{SPACE}%"
    text = f"{percent:.{digits}f}".replace("-", MINUS)
    return f"{text.removesuffix('.' + '0' * digits) if percent in (0, 100) else text}{SPACE}%"


def points(fraction: float) -> str:
    """A difference of two fractions in percentage points, without its sign."""
    value = abs(100 * fraction)
    return f"{value:.2f}" if value < 0.095 else f"{value:.1f}"


def signed_points(fraction: float) -> str:
    """A difference of two fractions in percentage points, with its sign."""
    if fraction == 0:
        return "±0"
    return f"{MINUS if fraction < 0 else '+'}{points(fraction)}"


def percent_up(bound: float) -> str:
    """A bound in per cent, rounded up at two decimals: the words never claim too much."""
    return certificate_words.percent_up(bound).replace("-", MINUS)


def times(factor: float) -> str:
    """A ratio of two times."""
    return f"{factor:.2f}×" if math.isfinite(factor) else "not finite"


def score(value: float) -> str:
    """A score: three significant digits, with an exponent where it is far from one."""
    return f"{value:.3g}".replace("-", MINUS)
