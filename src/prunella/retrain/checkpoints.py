"""How far a training has come, and how it goes on from there."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from torch import Tensor, nn
from torch.optim import Optimizer

from prunella.core.errors import InputError
from prunella.retrain.assess import Tally
from prunella.retrain.optimizing import STATE
from prunella.retrain.recipe import Recipe

State = dict[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRecord:
    """What one pass over the training samples gave.

    Attributes:
        epoch: Counted from 1.
        loss: Mean over samples.
        accuracy: On the (augmented) training samples, while they were learnt; in [0, 1], or NaN
            where there is none.
        learning_rate: At the end of the epoch.
        figures: What else the objective counted on the training samples, by name.
        held_out: Loss and figures on the samples of the validation, by name; empty without one.
    """

    epoch: int
    loss: float
    accuracy: float
    learning_rate: float
    figures: Mapping[str, float] = field(default_factory=dict)
    held_out: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain data; what is empty is left out, and what is no finite number becomes None."""
        data: dict[str, Any] = {
            "epoch": self.epoch,
            "loss": self.loss,
            "accuracy": _plain(self.accuracy),
            "learning_rate": self.learning_rate,
        }
        for name in ("figures", "held_out"):
            values: Mapping[str, float] = getattr(self, name)
            if values:
                data[name] = {key: _plain(value) for key, value in values.items()}
        return data


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Checkpoint:
    """All that is needed to go on after `epoch` passes as if nothing had happened.

    Attributes:
        epoch: Passes done.
        model: State of the model, by dotted name.
        optimizer: What the optimiser keeps of the parameters: PyTorch's name of the piece, for
            instance "momentum_buffer", to dotted name of the parameter to tensor.
        best: State of the model after the epoch that the validation found best; empty where that
            is `model`, or without a validation.
        records: One for each pass done.
    """

    epoch: int
    model: Mapping[str, Tensor]
    optimizer: Mapping[str, Mapping[str, Tensor]]
    records: tuple[EpochRecord, ...]
    best: Mapping[str, Tensor] = field(default_factory=dict)


def record_of(
    tally: Tally, epoch: int, learning_rate: float, held_out: Mapping[str, float]
) -> EpochRecord:
    """The record of an epoch whose batches have been counted."""
    figures = tally.means()
    return EpochRecord(
        epoch=epoch,
        loss=figures.pop("loss"),
        accuracy=figures.pop("accuracy", math.nan),
        learning_rate=learning_rate,
        figures=figures,
        held_out=held_out,
    )


def best_epoch(records: Sequence[EpochRecord], figure: str, *, largest: bool = False) -> int:
    """The epoch whose figure on the held-out samples is best, the first of equals.

    A figure that is no number is worse than any number.

    Args:
        records: At least one, with held-out figures.
        figure: Its name.
        largest: Whether large is good.
    """

    def badness(record: EpochRecord) -> float:
        value = record.held_out[figure]
        return math.inf if math.isnan(value) else (-value if largest else value)

    return min(records, key=badness).epoch


def state_of(model: nn.Module) -> State:
    """A copy of the model's state."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def load_state(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put a state into the model, in place."""
    model.load_state_dict(cast("dict[str, Any]", dict(state)))


def optimizer_state(model: nn.Module, optimizer: Optimizer) -> dict[str, State]:
    """A copy of what the optimiser keeps, in the form of `Checkpoint.optimizer`."""
    pieces: dict[str, State] = {}
    for name, parameter in model.named_parameters():
        for piece, value in optimizer.state[parameter].items():
            if value is not None:
                pieces.setdefault(piece, {})[name] = value.detach().clone()
    return pieces


def restore(checkpoint: Checkpoint, model: nn.Module, optimizer: Optimizer, recipe: Recipe) -> None:
    """Put a checkpoint into model and optimiser, in place.

    Raises:
        InputError: it is of another model, or of another optimiser.
    """
    kept = STATE[recipe.optimizer]
    if not set(checkpoint.optimizer) <= set(kept):
        raise InputError(
            f"the checkpoint holds {', '.join(sorted(checkpoint.optimizer))} of each parameter, "
            f"but the recipe's {recipe.optimizer} keeps {', '.join(kept)}; resume with the recipe "
            "the checkpoint was made with."
        )
    if not _fits(checkpoint, model, kept):
        raise InputError(
            f"the checkpoint holds other tensors than {type(model).__name__}; resume with the "
            "model it was made with, or begin anew."
        )
    load_state(model, checkpoint.model)
    for name, parameter in model.named_parameters():
        for piece, tensors in checkpoint.optimizer.items():
            if name in tensors:
                # Counts of steps stay where the optimiser keeps them, on the CPU.
                device = parameter.device if tensors[name].ndim else "cpu"
                optimizer.state[parameter][piece] = tensors[name].to(device).clone()


def _fits(checkpoint: Checkpoint, model: nn.Module, kept: Sequence[str]) -> bool:
    parameters = {name: parameter.shape for name, parameter in model.named_parameters()}
    state = {name: tensor.shape for name, tensor in model.state_dict().items()}
    states = [checkpoint.model, *([checkpoint.best] if checkpoint.best else [])]
    pieces = checkpoint.optimizer
    owners = [set(tensors) for tensors in pieces.values()]
    return (
        all(state == {name: tensor.shape for name, tensor in given.items()} for given in states)
        # An optimiser that keeps anything of a parameter keeps all pieces of it.
        and (not pieces or (set(pieces) == set(kept) and all(o == owners[0] for o in owners)))
        and all(
            name in parameters and tensor.shape == (() if piece == "step" else parameters[name])
            for piece, tensors in pieces.items()
            for name, tensor in tensors.items()
        )
    )


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
