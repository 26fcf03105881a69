"""Losses of the user's own: what they must return, and the bounds for their means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prunella.bounds import betting_upper
from prunella.core.certified import LossBound
from prunella.core.errors import InputError

Loss = Callable[[Any, Any], Tensor]  # (output of a model, target) -> (N,) in [0, 1]


def check_losses(losses: Mapping[str, Loss]) -> None:
    """Raise InputError unless these are functions with names."""
    for name, loss in losses.items():
        if not isinstance(name, str) or not name or not callable(loss):
            raise InputError(
                f"losses holds {name!r}: {type(loss).__name__}; expected names and functions "
                "loss(model_output, target) -> tensor (N,) of numbers from 0 to 1."
            )


def loss_values(
    name: str,
    loss: Loss,
    output: object,
    target: object,
    samples: int,
    *,
    whose: str,
) -> NDArray[np.float64]:  # (N,)
    """What a loss gives for one batch, checked.

    Args:
        name: Of the loss, for messages.
        loss: The user's function.
        output: What the model returned.
        target: The labels as the loader yields them, or None.
        samples: N.
        whose: Names the network, for messages.

    Raises:
        InputError: it returns no tensor (N,), or a value that is not from 0 to 1.
    """
    values: object = loss(output, target)
    if not isinstance(values, Tensor) or values.shape != (samples,):
        found = (
            f"shape {tuple(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
        )
        raise InputError(
            f"the loss {name!r} returns {found} for {samples} samples of the {whose} network; "
            f"expected a tensor of shape ({samples},), one number for each sample. A mean over the "
            "batch is not enough."
        )
    array = values.detach().cpu().to(torch.float64).numpy()
    wrong = ~((array >= 0) & (array <= 1))
    if wrong.any():
        raise InputError(
            f"the loss {name!r} returns {array[wrong][0]:g} for a sample of the {whose} network; "
            "expected numbers from 0 to 1, since nothing can be said about the mean of a loss that "
            "has no largest value. Divide by that value, or cut the loss off there."
        )
    return array


def loss_bound(
    name: str,
    original: NDArray[np.float64],  # (n,) in [0, 1], in an order that does not depend on them
    small: NDArray[np.float64],  # (n,)
    delta: float,
) -> LossBound:
    """Bounds for the mean loss of the small network, and for its increase; each at delta.

    By betting (Waudby-Smith and Ramdas, see `bounds.betting_upper`), whose bound for a mean of any
    bounded variable adapts to the variance: the increase is a paired difference, which varies
    little where both networks mostly agree. That bound was chosen before any sample was seen.
    """
    increase = small - original
    return LossBound(
        name=name,
        mean=float(small.mean()),
        mean_upper=betting_upper(small, delta, 0.0, 1.0),
        increase=float(increase.mean()),
        increase_upper=betting_upper(increase, delta, -1.0, 1.0),
    )
