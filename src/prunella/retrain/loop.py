"""The one training loop, on Lightning Fabric."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sized
from dataclasses import dataclass
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD
from torch.optim.lr_scheduler import OneCycleLR
from torch.utils.data import DataLoader

from prunella.core.batches import Batch, check_labels, read_batch
from prunella.core.errors import DataError, InputError, PrunellaError
from prunella.core.inputs import Inputs
from prunella.core.modes import evaluating, training_flags_restored
from prunella.core.outputs import class_scores, logits_of
from prunella.core.progress import Progress, silent
from prunella.retrain.augment import augment
from prunella.retrain.recipe import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRecord:
    """What one pass over the training samples gave."""

    epoch: int  # counted from 1
    loss: float  # mean over samples
    accuracy: float  # on the (augmented) training samples, while they were learnt; in [0, 1]
    learning_rate: float  # at the end of the epoch


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Checkpoint:
    """All that is needed to go on after `epoch` passes as if nothing had happened.

    Attributes:
        epoch: Passes done.
        model: State of the model, by dotted name.
        momentum: Momentum buffer of each parameter, by dotted name.
        records: One for each pass done.
    """

    epoch: int
    model: Mapping[str, Tensor]
    momentum: Mapping[str, Tensor]
    records: tuple[EpochRecord, ...]


def fit(
    model: nn.Module,
    loader: Iterable[object],
    recipe: Recipe,
    *,
    seed: int,
    teacher: nn.Module | None = None,
    resume: Checkpoint | None = None,
    on_epoch: Callable[[Checkpoint], None] | None = None,
    progress: Progress = silent,
) -> tuple[EpochRecord, ...]:
    """Train `model` in place.

    Shuffling, augmentation and dropout of an epoch depend on (seed, epoch) alone, so a run resumed
    from a checkpoint gives the same weights as an unbroken one. Torch's global generator is left as
    it was found.

    Args:
        model: Trained in place; its training flags are restored at the end. Without a teacher it
            returns logits (N, classes), with one logits of any shape; see `logits_of`.
        loader: Sized and re-iterable; yields inputs, with or without labels (N,), in any form that
            `read_batch` knows.
        recipe: Hyper-parameters.
        seed: Any integer.
        teacher: If given, its logits are the targets and labels are not needed.
        resume: A checkpoint of an earlier call with the same other arguments.
        on_epoch: Called after every epoch, for instance to save the checkpoint.
        progress: Reports batches.

    Returns:
        One record for each epoch, those of the resumed checkpoint included.

    Raises:
        DataError: the loader is empty, has no length, lacks labels, or the loss is not finite.
        InputError: the outputs hold no logits, the recipe moves images where there are none, or the
            checkpoint is of another run.
    """
    batches = len(loader) if isinstance(loader, Sized) else 0
    if recipe.epochs == 0:
        return ()
    if batches == 0:
        raise DataError(
            "the training loader is empty or does not know its length; expected at least one batch."
        )
    if resume is not None and resume.epoch > recipe.epochs:
        raise InputError(
            f"the checkpoint is from epoch {resume.epoch} but the recipe has {recipe.epochs}; "
            "resume with the recipe the checkpoint was made with."
        )
    fabric = Fabric(accelerator="auto", devices=1)
    with training_flags_restored(model), torch.random.fork_rng():
        optimizer = SGD(
            model.parameters(),
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=recipe.momentum > 0,
        )
        steps = recipe.epochs * batches + 1
        schedule = OneCycleLR(
            optimizer,
            max_lr=recipe.learning_rate,
            total_steps=steps,
            # A rise that ends exactly at the first step has no length to divide by.
            pct_start=recipe.warmup if steps * recipe.warmup != 1 else recipe.warmup * (1 + 1e-9),
            cycle_momentum=False,
        )
        records: tuple[EpochRecord, ...] = ()
        if resume is not None:
            _restore(resume, model, optimizer, schedule, steps=resume.epoch * batches)
            records = resume.records
        home = next(model.parameters()).device
        restore_layout = _channels_last(model)
        teacher_home = None if teacher is None else _device(teacher)
        try:
            wrapped, wrapped_optimizer = fabric.setup(model, optimizer)
            teacher = None if teacher is None else teacher.to(fabric.device)
            for epoch in range(len(records) + 1, recipe.epochs + 1):
                _seed_epoch(loader, seed=seed, epoch=epoch)
                tally = _Tally()
                model.train()
                description = f"epoch {epoch}/{recipe.epochs}"
                for batch in progress(loader, description=description, total=batches):
                    labelled = read_batch(batch).to(fabric.device)
                    _step(fabric, wrapped, wrapped_optimizer, labelled, recipe, teacher, tally)
                    schedule.step()
                records = (*records, tally.record(epoch, float(schedule.get_last_lr()[0])))
                if on_epoch is not None:
                    on_epoch(_checkpoint(model, optimizer, records))
        finally:
            model.to(home)
            restore_layout()
            if teacher is not None and teacher_home is not None:
                teacher.to(teacher_home)
    return records


def _device(model: nn.Module) -> torch.device | None:
    first = next(model.parameters(), None)
    return None if first is None else first.device


def _nothing_to_restore() -> None:
    """The layout was not changed."""


def _channels_last(model: nn.Module) -> Callable[[], None]:
    """Train 2-d convolutions in the layout they are fastest in; returns how to undo it."""
    plain = all(parameter.is_contiguous() for parameter in model.parameters())
    if not plain or not any(isinstance(module, nn.Conv2d) for module in model.modules()):
        return _nothing_to_restore
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def restore() -> None:
        model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]

    return restore


class _Tally:
    """Running sums of one epoch."""

    def __init__(self) -> None:
        self.loss = 0.0
        self.correct = 0
        self.labelled = 0
        self.samples = 0

    def record(self, epoch: int, learning_rate: float) -> EpochRecord:
        return EpochRecord(
            epoch=epoch,
            loss=self.loss / self.samples,
            accuracy=self.correct / self.labelled if self.labelled else float("nan"),
            learning_rate=learning_rate,
        )


def _step(
    fabric: Fabric,
    model: Any,
    optimizer: Any,
    batch: Batch,
    recipe: Recipe,
    teacher: nn.Module | None,
    tally: _Tally,
) -> None:
    inputs = _augmented(batch.inputs, recipe) if recipe.flip or recipe.shift else batch.inputs
    try:
        logits = logits_of(inputs.call(model))
    except ValueError as error:
        if len(batch) > 1 or isinstance(error, PrunellaError):
            raise
        raise DataError(
            f"a batch of the training loader holds one sample only, which this network cannot "
            f"learn from ({error}); use another batch size, or drop_last=True."
        ) from None
    labels = _class_labels(batch, logits, teacher)
    if labels is not None:
        tally.correct += int((logits.argmax(1) == labels).sum())
        tally.labelled += len(batch)
    loss = _loss(logits, inputs, labels, recipe, teacher)
    if not bool(torch.isfinite(loss)):
        raise DataError(
            f"the training loss became {float(loss.detach())}; lower the learning rate "
            f"(now at most {recipe.learning_rate}) or check the inputs for NaN."
        )
    optimizer.zero_grad()
    fabric.backward(loss)
    optimizer.step()
    tally.loss += float(loss.detach()) * len(batch)
    tally.samples += len(batch)


def _loss(
    logits: Tensor,
    inputs: Inputs,
    labels: Tensor | None,  # (N,)
    recipe: Recipe,
    teacher: nn.Module | None,
) -> Tensor:
    if teacher is not None:
        with evaluating(teacher):
            target = logits_of(inputs.call(teacher), whose="the teacher")
        return F.mse_loss(logits, target)
    if labels is None:
        raise DataError("training needs labels: the loader must yield pairs (inputs, labels).")
    return F.cross_entropy(logits, labels, label_smoothing=recipe.label_smoothing)


def _class_labels(batch: Batch, logits: Tensor, teacher: nn.Module | None) -> Tensor | None:
    """Labels (N,) that fit the logits (N, classes).

    A teacher needs none, so labels of other kinds beside it (of each token, say) are no mistake.
    """
    if teacher is None:
        class_scores(logits, len(batch))
    elif logits.ndim != 2 or not _is_of_classes(batch):
        return None
    labels = batch.labels
    if labels is not None:
        check_labels(labels, logits.shape[1])
    return labels


_NO_CLASSES = (torch.bool, torch.float16, torch.bfloat16, torch.float32, torch.float64)


def _is_of_classes(batch: Batch) -> bool:
    given = batch.given_labels
    return not isinstance(given, Tensor) or (given.ndim == 1 and given.dtype not in _NO_CLASSES)


def _augmented(inputs: Inputs, recipe: Recipe) -> Inputs:
    images = inputs.args[0] if len(inputs.args) == 1 and not inputs.kwargs else None
    if not isinstance(images, Tensor) or images.ndim != 4:
        raise InputError(
            "the recipe shifts or mirrors images, but the training loader yields inputs with "
            f"tensors of shapes {inputs.words()}; expected one tensor (N, C, H, W). Set shift to 0 "
            "and flip to false in the recipe."
        )
    return Inputs(args=(augment(images, recipe),))


def _seed_epoch(loader: Iterable[object], *, seed: int, epoch: int) -> None:
    # A product with a large odd number keeps the streams of neighbouring seeds apart.
    mixed = (seed * 1_000_003 + epoch) % 2**63
    torch.manual_seed(mixed)
    if isinstance(loader, DataLoader) and isinstance(loader.generator, torch.Generator):
        loader.generator.manual_seed(mixed)


def _checkpoint(model: nn.Module, optimizer: SGD, records: tuple[EpochRecord, ...]) -> Checkpoint:
    momentum = {
        name: optimizer.state[parameter]["momentum_buffer"].detach().clone()
        for name, parameter in model.named_parameters()
        if optimizer.state[parameter].get("momentum_buffer") is not None
    }
    state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    return Checkpoint(epoch=len(records), model=state, momentum=momentum, records=records)


def _restore(
    checkpoint: Checkpoint,
    model: nn.Module,
    optimizer: SGD,
    schedule: OneCycleLR,
    *,
    steps: int,
) -> None:
    _check_fits(checkpoint, model)
    model.load_state_dict(cast("dict[str, Any]", dict(checkpoint.model)))
    for name, parameter in model.named_parameters():
        if name in checkpoint.momentum:
            buffer = checkpoint.momentum[name].to(parameter.device).clone()
            optimizer.state[parameter]["momentum_buffer"] = buffer
    # Constructing the schedule sets step 0; the closed form needs no replay of the steps before.
    schedule.last_epoch = steps - 1
    with warnings.catch_warnings():
        # The optimiser's steps were taken before the interruption.
        warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step", UserWarning)
        schedule.step()


def _check_fits(checkpoint: Checkpoint, model: nn.Module) -> None:
    parameters = {name: parameter.shape for name, parameter in model.named_parameters()}
    state = {name: tensor.shape for name, tensor in model.state_dict().items()}
    fits = state == {name: tensor.shape for name, tensor in checkpoint.model.items()} and all(
        parameters.get(name) == tensor.shape for name, tensor in checkpoint.momentum.items()
    )
    if not fits:
        raise InputError(
            f"the checkpoint holds other tensors than {type(model).__name__}; resume with the "
            "model it was made with, or begin anew."
        )
