"""Levels as people write them: 0.5% or 0.005."""

from __future__ import annotations

from prunella.core.errors import InputError
from prunella.core.words import shown

_LARGEST_PLAIN = 0.1  # above it a number without a sign is more likely meant in per cent


def level(name: str, value: float | str) -> float:
    """A tolerated share, in (0, 1): a number, or text such as "0.5%" or "0.005".

    Text above 0.1 needs the sign, because "0.5" is as likely to mean half a per cent.

    Args:
        name: What it is, for the message.
        value: As it was given.

    Raises:
        InputError: it is no share, or could mean two things.
    """
    number, signed = _number(value)
    if number is None or not 0 < number < 1:
        raise InputError(
            f"{name} is {shown(value)}; expected a share above 0 and below 1, for instance 0.5% or "
            "0.005."
        )
    if isinstance(value, str) and not signed and number > _LARGEST_PLAIN:
        raise InputError(
            f"{name} is {shown(value)}, which is {100 * number:g} % as a share; write "
            f"{number:g}% or {100 * number:g}%, whichever is meant."
        )
    return number


def confidence(name: str, value: float | str) -> float:
    """A confidence, from 1/2 up and below 1: a number, or text such as "99%" or "0.99".

    Raises:
        InputError: it is none.
    """
    number, _ = _number(value)
    if number is None or not 0.5 <= number < 1:
        raise InputError(
            f"{name} is {shown(value)}; expected at least 50% and less than 100%, for instance 99% "
            "or 0.99."
        )
    return number


def _number(value: float | str) -> tuple[float | None, bool]:
    """The number, and whether it was written in per cent."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None, False
    text = str(value).strip()
    signed = text.endswith("%")
    try:
        number = float(text.removesuffix("%"))
    except ValueError:
        return None, signed
    # 0.5 / 100 is the same double as 0.005; a product with 0.01 is not
    return (number / 100 if signed else number), signed
