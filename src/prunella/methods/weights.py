"""The weights that make a group's channels, one row for each unit."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from prunella.core.errors import InputError
from prunella.core.types import ChannelGroup


def producing_rows(model: nn.Module, group: ChannelGroup, method: str) -> Tensor:
    """All producing weights of each unit side by side, biases left out; (size, weights) float32.

    A unit that several layers produce together, such as a channel of a residual stream, has the
    weights of all of them in its row.

    Raises:
        InputError: no weight of two axes or more makes the channels.
    """
    tensors = {
        **dict(model.named_buffers(remove_duplicate=False)),
        **dict(model.named_parameters(remove_duplicate=False)),
    }
    parts = []
    for member in group.members:
        weight = tensors.get(member.tensor)
        if member.role == "producer" and weight is not None and weight.ndim > 1:
            rows = weight.detach().float().movedim(member.axis, 0).flatten(1).cpu()
            parts.append(rows[member.indices].flatten(1))
    if not parts:
        raise InputError(
            f"group {group.name!r}: no convolution or linear layer makes these channels, so method "
            f"{method!r} has no filters to compare; leave the group whole with exclude, or use a "
            "method that looks at activations, such as 'pfp'."
        )
    return torch.cat(parts, dim=1)
