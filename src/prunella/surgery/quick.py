"""The comparison of the small with the masked network at a fraction of the work."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from prunella.core.inputs import Inputs, tensors_in
from prunella.core.modes import full_precision
from prunella.core.types import ChannelGraph
from prunella.ops import copy_module, evaluate
from prunella.surgery.apply import stored_tensors
from prunella.surgery.masks import masked_at_inputs
from prunella.surgery.probes import probe, relative_difference

_SIDES = 64, 128  # of images that a network is tried on before it gets the example's size
_STEP = 32  # a side keeps its divisors up to here: networks halve it, or cut it in patches
_TOKENS = 16


def quick_difference(
    model: nn.Module,
    small: nn.Module,
    graph: ChannelGraph,
    kept: Mapping[str, Tensor],  # group name -> (kept,) sorted int64
) -> float:
    """The relative difference on one probe, as small as the network takes it; NaN if none tells.

    A cut removes positions along axes of channels, and each weight is used alike at all positions
    of an image and for all tokens of a sequence; so a small image, or a few tokens, show whether
    the right positions went. Tried are images of 64 and 128 positions a side in place of larger
    ones, and then the example's size with the stacks of blocks going on with 16 tokens.

    Both are run as copies on the same tensors: what a run of another size leaves behind in them
    goes with them.
    """
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(0)
    shared = {id(tensor): tensor for tensor in stored_tensors(small).values()}
    pair = copy_module(small, shared), masked_at_inputs(model, graph, kept)
    for part in pair:
        evaluate(part)
    for smaller in smaller_images(graph.inputs):
        with suppress(Exception):  # the model's own code may ask for one size
            return output_difference(*pair, probe(smaller, device, generator))
    for part in pair:
        shorten_sequences(part)
    with suppress(Exception):
        return output_difference(*pair, probe(graph.inputs, device, generator))
    return math.nan


def output_difference(small: nn.Module, masked: nn.Module, inputs: Inputs) -> float:
    """NaN where all outputs are zero, which says nothing."""
    device = next(masked.parameters()).device
    with torch.inference_mode(), torch.random.fork_rng(), full_precision(device):
        found, expected = (
            list(tensors_in(part(*inputs.args, **inputs.kwargs))) for part in (small, masked)
        )
        seen = any(bool(tensor.any()) for tensor in expected if tensor.dtype.is_floating_point)
        return relative_difference(found, expected) if seen else math.nan


def smaller_images(inputs: Inputs) -> Iterator[Inputs]:
    """The inputs with their images cropped, as long as that makes them smaller."""
    shapes = [leaf.shape for leaf in inputs.leaves() if isinstance(leaf, Tensor)]
    for side in _SIDES:
        smaller = inputs.map(lambda leaf, side=side: _cropped(leaf, side))  # type: ignore[misc]
        found = [leaf.shape for leaf in smaller.leaves() if isinstance(leaf, Tensor)]
        if found != shapes:
            yield smaller


def _cropped(leaf: Tensor, side: int) -> Tensor:
    if leaf.ndim < 4 or not leaf.dtype.is_floating_point:
        return leaf
    for axis in range(2, leaf.ndim):
        step = math.gcd(leaf.shape[axis], _STEP)
        size = -(-side // step) * step
        if size < leaf.shape[axis]:
            leaf = leaf.narrow(axis, 0, size)
    return leaf.contiguous()


def shorten_sequences(model: nn.Module) -> None:
    """Let each stack of equal blocks of a model go on with the first few tokens only.

    Blocks that follow each other take sequences of shape (N, L, C). Their weights are the same
    for every token, so a few tokens show what many would.
    """
    for block in _first_blocks(model):
        block.register_forward_pre_hook(_shortened)


def _first_blocks(model: nn.Module) -> Iterator[nn.Module]:
    """The first block of each outermost stack."""
    for child in model.children():
        blocks = list(child.children())
        stack = isinstance(child, (nn.ModuleList, nn.Sequential)) and len(blocks) > 1
        if stack and len({type(block) for block in blocks}) == 1 and any(blocks[0].children()):
            yield blocks[0]
        else:
            yield from _first_blocks(child)


def _shortened(block: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    del block
    first = args[0] if args else None
    if isinstance(first, Tensor) and first.ndim == 3 and first.dtype.is_floating_point:
        return (first[:, :_TOKENS], *args[1:])
    return args
