"""Spectra and signals with names: where over-parameterisation helps, and where it does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from prunella.core.errors import InputError
from prunella.theory.problem import Array, check_size, check_spectrum

Family = Literal["isotropic", "spiked", "power", "adverse"]
FAMILIES: tuple[Family, ...] = get_args(Family)

SUMMARIES: dict[Family, str] = {
    "isotropic": "all variances 1, coefficients falling as i^-0.6",
    "spiked": "the first 5 % have variance 25, the others 1; equal coefficients",
    "power": "variances falling as 1/i, coefficients as i^-0.25",
    "adverse": "variances growing as i^0.5, coefficients falling as 1/i",
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Spectrum:
    """Variances and coefficients of d features, in the order in which models take them up.

    Attributes:
        eigenvalues: Variances, shape (d,).
        coefficients: Coefficients, shape (d,); in the named families positive, and what they
            explain has variance 1.
    """

    eigenvalues: Array
    coefficients: Array

    @classmethod
    def of(cls, eigenvalues: ArrayLike, coefficients: ArrayLike) -> Spectrum:
        """A spectrum of one's own; nothing is scaled.

        Raises:
            InputError: shapes do not fit, or a variance is negative.
        """
        values, signal = check_spectrum(eigenvalues, coefficients)
        return cls(eigenvalues=values, coefficients=signal)


def family(name: str, d: int = 1000) -> Spectrum:
    """A named spectrum of d features; importance eigenvalue x coefficient^2 falls in all of them.

    Raises:
        InputError: there is no family of that name, or d is no positive integer.

    Source: docs/theory/double-descent.md, section 7.
    """
    d = check_size("d", d, "the number of features")
    index = np.arange(1, d + 1, dtype=np.float64)
    spikes = max(1, d // 20)
    make: dict[str, Callable[[], tuple[Array, Array]]] = {
        "isotropic": lambda: (np.ones(d), index**-0.6),
        "spiked": lambda: (np.where(index <= spikes, 25.0, 1.0), np.ones(d)),
        "power": lambda: (1 / index, index**-0.25),
        "adverse": lambda: (np.sqrt(index / d), 1 / index),
    }
    if name not in make:
        raise InputError(f"family {name!r} is not known; expected one of {', '.join(FAMILIES)}.")
    eigenvalues, coefficients = make[name]()
    explained = float(np.sum(eigenvalues * coefficients**2))
    return Spectrum(eigenvalues=eigenvalues, coefficients=coefficients / np.sqrt(explained))
