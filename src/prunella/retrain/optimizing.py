"""The optimiser and the schedule of a recipe."""

from __future__ import annotations

import warnings

from torch import nn
from torch.optim import SGD, Adam, Optimizer, RMSprop
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from prunella.retrain.recipe import Recipe

# What each optimiser keeps of every parameter, by the names that PyTorch gives it.
STATE = {
    "sgd": ("momentum_buffer",),
    "rmsprop": ("step", "square_avg"),
    "adam": ("step", "exp_avg", "exp_avg_sq"),
}


def optimizer_of(recipe: Recipe, model: nn.Module) -> Optimizer:
    """A new optimiser of all parameters of the model."""
    rate, decay = recipe.learning_rate, recipe.weight_decay
    if recipe.optimizer == "rmsprop":
        return RMSprop(model.parameters(), lr=rate, weight_decay=decay)
    if recipe.optimizer == "adam":
        return Adam(model.parameters(), lr=rate, weight_decay=decay)
    return SGD(
        model.parameters(),
        lr=rate,
        momentum=recipe.momentum,
        weight_decay=decay,
        nesterov=recipe.momentum > 0,
    )


def schedule_of(recipe: Recipe, optimizer: Optimizer, *, batches: int) -> LRScheduler:
    """The schedule of the learning rate, before its first step.

    Args:
        recipe: Hyper-parameters.
        optimizer: Its learning rate is set.
        batches: Steps in an epoch.
    """
    if recipe.schedule == "constant":
        return LambdaLR(optimizer, lambda _: 1.0)
    steps = recipe.epochs * batches + 1
    return OneCycleLR(
        optimizer,
        max_lr=recipe.learning_rate,
        total_steps=steps,
        # A rise that ends exactly at the first step has no length to divide by.
        pct_start=recipe.warmup if steps * recipe.warmup != 1 else recipe.warmup * (1 + 1e-9),
        cycle_momentum=False,
    )


def go_on(schedule: LRScheduler, *, steps: int) -> None:
    """Put a new schedule where it was after so many steps."""
    # Constructing the schedule sets step 0; the closed form needs no replay of the steps before.
    schedule.last_epoch = steps - 1
    with warnings.catch_warnings():
        # The optimiser's steps were taken before the interruption.
        warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step", UserWarning)
        schedule.step()
