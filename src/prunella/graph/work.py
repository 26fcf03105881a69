"""Multiply-adds of one call."""

from __future__ import annotations

import math
from typing import Any

from torch.utils.flop_counter import flop_registry


def macs_of(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> int:
    """Multiply-adds of an operation in torch's table, half of the operations it states there.

    The commonest are counted here: torch's way to read shapes takes longer than all the rest.
    """
    operation = func.overloadpacket.__name__
    if operation == "convolution" and not args[6]:
        weight = args[1]
        positions = math.prod(out.shape) // int(out.shape[-weight.ndim + 1])
        macs: int = positions * weight.numel()
        return macs
    if operation in ("mm", "addmm", "bmm"):
        return int(out.numel()) * int(args[-2].shape[-1])
    return int(flop_registry[func.overloadpacket](*args, **kwargs, out_val=out)) // 2
