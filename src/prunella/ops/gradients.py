"""Derivatives of a network's outputs, read from the calls of its backward pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from prunella.core.errors import InputError
from prunella.core.inputs import tensors_in
from prunella.core.outputs import logits_of
from prunella.ops.contractions import contraction_of
from prunella.ops.storage import StoredTensors


@contextmanager
def requiring_gradients(tensors: Sequence[Tensor]) -> Iterator[None]:
    """Let tensors have gradients; their flags are restored on exit."""
    flags = [tensor.requires_grad for tensor in tensors]
    try:
        for tensor in tensors:
            tensor.requires_grad_(True)
        yield
    finally:
        for tensor, flag in zip(tensors, flags, strict=True):
            tensor.requires_grad_(flag)


def judged_outputs(outputs: object) -> list[Tensor]:
    """The logits, or all tensors of a network that returns something else; with gradients only."""
    try:
        found = [logits_of(outputs)]
    except InputError:
        found = list(tensors_in(outputs))
    return [out for out in found if out.requires_grad]


def signed_sum(outputs: Sequence[Tensor], generator: torch.Generator) -> Tensor:
    """The sum of all numbers with random signs, so that no derivatives cancel but by chance."""
    return torch.stack([(out * _signs(out, generator)).sum() for out in outputs]).sum()


def _signs(like: Tensor, generator: torch.Generator) -> Tensor:
    signs = 2 * torch.randint(0, 2, like.shape, generator=generator) - 1
    return signs.to(dtype=like.dtype, device=like.device)


def derivative_of(
    func: Any,
    args: tuple[Any, ...],
    stored: StoredTensors,
    in_axes: Mapping[str, int],  # of the consumers that are looked for
) -> tuple[str, Tensor] | None:
    """Of a call in a backward pass: the consumer, and the derivative by all that it gave.

    The derivative is (samples, *positions, outputs). It is what a consumer's backward pass
    multiplies its weight with. None for all other calls.
    """
    if func.overloadpacket.__name__ == "convolution_backward":
        view = stored.locate(args[2])
        return None if view is None or view.name not in in_axes else (view.name, _last(args[0]))
    call = contraction_of(func, args, stored)
    # A matrix product over the outputs' axis of the weight carries the gradient on.
    if call is None or call.spatial or call.out_axis != in_axes.get(call.name):
        return None
    return call.name, call.inputs


def _last(gradient: Tensor) -> Tensor:
    return gradient.movedim(1, -1)
