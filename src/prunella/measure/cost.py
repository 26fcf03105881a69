"""Parameters, multiply-adds and bytes of any model."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from prunella.core.errors import InputError
from prunella.core.inputs import Inputs
from prunella.core.modes import attention_in_parts
from prunella.core.types import Cost
from prunella.ops import NEEDS_VALUES, Tensors, evaluation_copy, standing, without_values


def cost(model: nn.Module, example_inputs: object) -> Cost:
    """Size and work of a model, without computing or allocating anything.

    Only a model whose path depends on values is really run.

    Args:
        model: Any module; untouched.
        example_inputs: A tensor, a sequence of positional arguments, or a dictionary of keyword
            arguments; with one sample in them `macs` reads per sample.

    Returns:
        Parameters (tied ones once), multiply-adds of convolutions and matrix products, and bytes
        of parameters and saved buffers.

    Raises:
        InputError: the model cannot be run on the example inputs.
    """
    inputs = Inputs.of(example_inputs)
    macs = without_values(lambda tensors: _macs(model, inputs, tensors))
    parameters = list(model.parameters())
    saved = {id(tensor): tensor for tensor in (*parameters, *_saved_buffers(model))}
    return Cost(
        params=sum(parameter.numel() for parameter in parameters),
        macs=macs,
        bytes=sum(tensor.numel() * tensor.element_size() for tensor in saved.values()),
    )


def _macs(model: nn.Module, inputs: Inputs, tensors: Tensors) -> int:
    copied, moved = evaluation_copy(model, inputs, tensors=tensors)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), attention_in_parts(), standing(tensors), counter:
        try:
            copied(*moved.args, **moved.kwargs)
        except NEEDS_VALUES:
            raise
        except Exception as error:  # the model's own code may raise anything
            raise InputError(
                f"{type(model).__name__} cannot be run on the example inputs: {error} "
                "Give inputs of the shape and type the model expects."
            ) from error
    return counter.get_total_flops() // 2


def _saved_buffers(model: nn.Module) -> list[Tensor]:
    state = set(model.state_dict())
    return [buffer for name, buffer in model.named_buffers() if name in state]
