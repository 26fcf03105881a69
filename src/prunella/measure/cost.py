"""Parameters, multiply-adds and bytes of any model."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode
from torch.utils._pytree import tree_map
from torch.utils.flop_counter import FlopCounterMode

from prunella.core.errors import InputError
from prunella.core.types import Cost


def cost(model: nn.Module, example_inputs: object) -> Cost:
    """Size and work of a model, without computing or allocating anything.

    Args:
        model: Any module; untouched.
        example_inputs: A tensor or a sequence of positional arguments; with one sample in them
            `macs` reads per sample.

    Returns:
        Parameters (tied ones once), multiply-adds of convolutions and matrix products, and bytes
        of parameters and saved buffers.

    Raises:
        InputError: the model cannot be run on the example inputs.
    """
    given = example_inputs
    arguments = tuple(given) if isinstance(given, (tuple, list)) else (given,)
    fake_mode = FakeTensorMode(allow_non_fake_inputs=True)
    with FakeCopyMode(fake_mode):
        fake = copy.deepcopy(model)
    fake.eval()
    first = next(model.parameters(), None)
    device = torch.device("cpu") if first is None else first.device
    fake_arguments = tree_map(
        lambda leaf: fake_mode.from_tensor(leaf.to(device)) if isinstance(leaf, Tensor) else leaf,
        arguments,
    )
    with torch.no_grad(), fake_mode, FlopCounterMode(display=False) as flops:
        try:
            fake(*fake_arguments)
        except (RuntimeError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise InputError(
                f"{type(model).__name__} cannot be run on the example inputs: {error} "
                "Give inputs of the shape and type the model expects."
            ) from error
    parameters = list(model.parameters())
    saved = {id(tensor): tensor for tensor in (*parameters, *_saved_buffers(model))}
    return Cost(
        params=sum(parameter.numel() for parameter in parameters),
        macs=flops.get_total_flops() // 2,
        bytes=sum(tensor.numel() * tensor.element_size() for tensor in saved.values()),
    )


def _saved_buffers(model: nn.Module) -> list[Tensor]:
    state = set(model.state_dict())
    return [buffer for name, buffer in model.named_buffers() if name in state]
