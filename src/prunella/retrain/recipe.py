"""How a network is trained, as data."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Recipe(BaseModel):
    """By default: stochastic gradient descent with Nesterov momentum, one warm-up / cosine cycle.

    In a cycle the learning rate rises from a 25th of its highest value along a half cosine over the
    first `warmup` share of the steps, and then falls to almost zero along another. RMSprop and Adam
    have the constants that PyTorch gives them, and no use for `momentum`. With a teacher the loss
    is the mean squared difference of the two networks' outputs (Ba and Caruana, "Do deep nets
    really need to be deep?", NeurIPS 2014), and labels are not used.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(10, ge=0, description="Passes over the training samples.")
    learning_rate: float = Field(
        0.1, gt=0, allow_inf_nan=False, description="Highest learning rate."
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="Nesterov momentum, of sgd only.")
    weight_decay: float = Field(5e-4, ge=0, description="L2 penalty on all parameters.")
    warmup: float = Field(0.2, gt=0, lt=1, description="Share of the steps with a rising rate.")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="Smoothing of the labels.")
    shift: int = Field(0, ge=0, description="Random shift of images, pixels in each direction.")
    flip: bool = Field(False, description="Mirror images left-right at random.")
    optimizer: Literal["sgd", "rmsprop", "adam"] = Field("sgd", description="Rule of the steps.")
    schedule: Literal["cycle", "constant"] = Field("cycle", description="Of the learning rate.")
    clip: float | None = Field(
        None, gt=0, description="Longest gradient, as the norm over all parameters; null for any."
    )
