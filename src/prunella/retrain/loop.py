"""The one training loop, on Lightning Fabric."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sized
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from prunella.core.batches import Batch, read_batch
from prunella.core.errors import DataError, InputError, PrunellaError
from prunella.core.inputs import Inputs
from prunella.core.modes import training_flags_restored
from prunella.core.progress import Progress, length, silent
from prunella.retrain.assess import Tally, assess, seed_epoch
from prunella.retrain.augment import augment
from prunella.retrain.checkpoints import (
    Checkpoint,
    EpochRecord,
    State,
    best_epoch,
    load_state,
    optimizer_state,
    record_of,
    restore,
    state_of,
)
from prunella.retrain.objectives import Objective, objective_of
from prunella.retrain.optimizing import go_on, optimizer_of, schedule_of
from prunella.retrain.recipe import Recipe


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Validation:
    """Held-out samples that say after which epoch the model was best.

    Attributes:
        loader: Sized and re-iterable, like that of the training samples.
        figure: "loss", or the name of one of the objective's figures.
        largest: Whether large is good; of equal epochs the first one is best.
    """

    loader: Iterable[object]
    figure: str = "loss"
    largest: bool = False


def fit(
    model: nn.Module,
    loader: Iterable[object],
    recipe: Recipe,
    *,
    seed: int,
    teacher: nn.Module | None = None,
    objective: Objective | None = None,
    validation: Validation | None = None,
    resume: Checkpoint | None = None,
    on_epoch: Callable[[Checkpoint], None] | None = None,
    progress: Progress = silent,
) -> tuple[EpochRecord, ...]:
    """Train `model` in place.

    Shuffling, augmentation, dropout and any other noise of an epoch depend on (seed, epoch) alone,
    so a run resumed from a checkpoint gives the same weights as an unbroken one. Noise while
    validating depends on the seed alone, so that epochs are compared under the same one. Torch's
    global generator is left as it was found.

    Args:
        model: Trained in place; its training flags are restored at the end. Without a teacher it
            returns logits (N, classes), with one logits of any shape; see `logits_of`. With an
            objective it returns what that reads.
        loader: Sized and re-iterable; yields inputs, with or without labels (N,), in any form that
            `read_batch` knows.
        recipe: Hyper-parameters.
        seed: Any integer.
        teacher: If given, its logits are the targets and labels are not needed.
        objective: What to make small; by default the cross entropy with the labels, or the
            distance from the teacher.
        validation: If given, the model is left as it was after its best epoch.
        resume: A checkpoint of an earlier call with the same other arguments.
        on_epoch: Called after every epoch, for instance to save the checkpoint.
        progress: Reports batches.

    Returns:
        One record for each epoch, those of the resumed checkpoint included.

    Raises:
        DataError: the loader is empty, has no length, lacks labels, or the loss is not finite.
        InputError: the outputs hold no logits, the recipe moves images where there are none, the
            checkpoint is of another run, there are both teacher and objective, one of them meets a
            recipe that smooths labels, or the validation names no figure of the objective.
    """
    if recipe.epochs == 0 and resume is None:
        return ()
    batches = _length(loader, "training")
    if validation is not None:
        _length(validation.loader, "validation")
    if teacher is not None and objective is not None:
        raise InputError(
            "got a teacher and an objective; give one of them: the teacher's outputs are learnt "
            "through an objective of their own."
        )
    if recipe.label_smoothing and (objective is not None or teacher is not None):
        raise InputError(
            f"the recipe has label_smoothing {recipe.label_smoothing}, which only the cross "
            "entropy with labels knows; set it to 0."
        )
    if resume is not None:
        _check_resumable(resume, recipe, validation)
    fabric = Fabric(accelerator="auto", devices=1)
    judge = objective if objective is not None else objective_of(recipe, teacher)
    with training_flags_restored(model), torch.random.fork_rng():
        optimizer = optimizer_of(recipe, model)
        schedule = schedule_of(recipe, optimizer, batches=batches)
        records: tuple[EpochRecord, ...] = ()
        best: State = {}
        if resume is not None:
            restore(resume, model, optimizer, recipe)
            go_on(schedule, steps=resume.epoch * batches)
            records = resume.records
            best = dict(resume.best or resume.model)
        home = next(model.parameters()).device
        restore_layout = _channels_last(model)
        teacher_home = None if teacher is None else _device(teacher)
        try:
            wrapped, wrapped_optimizer = fabric.setup(model, optimizer)
            if teacher is not None:
                teacher.to(fabric.device)
            run = _Run(
                fabric=fabric, model=wrapped, optimizer=wrapped_optimizer, recipe=recipe,
                objective=judge, progress=progress,
            )  # fmt: skip
            for epoch in range(len(records) + 1, recipe.epochs + 1):
                seed_epoch(loader, seed=seed, epoch=epoch)
                model.train()
                tally = run.trained(loader, schedule.step, f"epoch {epoch}/{recipe.epochs}")
                rate = float(schedule.get_last_lr()[0])
                held_out: Mapping[str, float] = {}
                if validation is not None:
                    held_out = _validated(model, validation, judge, seed, progress)
                records = (*records, record_of(tally, epoch, rate, held_out))
                if validation is not None and _best(records, validation) == epoch:
                    best = state_of(model)
                if on_epoch is not None:
                    on_epoch(_checkpoint(model, optimizer, records, validation, best))
            if validation is not None:
                load_state(model, best)
        finally:
            model.to(home)
            restore_layout()
            if teacher is not None and teacher_home is not None:
                teacher.to(teacher_home)
    return records


def _length(loader: Iterable[object], what: str) -> int:
    batches = len(loader) if isinstance(loader, Sized) else 0
    if batches == 0:
        raise DataError(
            f"the {what} loader is empty or does not know its length; expected at least one batch."
        )
    return batches


def _check_resumable(checkpoint: Checkpoint, recipe: Recipe, validation: Validation | None) -> None:
    if checkpoint.epoch > recipe.epochs:
        raise InputError(
            f"the checkpoint is from epoch {checkpoint.epoch} but the recipe has {recipe.epochs}; "
            "resume with the recipe the checkpoint was made with."
        )
    named = "none" if validation is None else repr(validation.figure)
    for record in checkpoint.records:
        if (validation is None) != (not record.held_out) or (
            validation is not None and validation.figure not in record.held_out
        ):
            raise InputError(
                f"the validation goes by {named}, but epoch {record.epoch} of the checkpoint has "
                f"the held-out figures {', '.join(record.held_out) or 'none'}; resume with the "
                "validation the checkpoint was made with."
            )


def _validated(
    model: nn.Module, validation: Validation, objective: Objective, seed: int, progress: Progress
) -> Mapping[str, float]:
    found = assess(model, validation.loader, objective, seed=seed, progress=progress)
    if validation.figure not in found:
        raise InputError(
            f"the validation goes by {validation.figure!r}, which the objective does not count; "
            f"expected one of {', '.join(found)}."
        )
    return found


def _best(records: tuple[EpochRecord, ...], validation: Validation) -> int:
    return best_epoch(records, validation.figure, largest=validation.largest)


def _checkpoint(
    model: nn.Module,
    optimizer: Any,
    records: tuple[EpochRecord, ...],
    validation: Validation | None,
    best: State,
) -> Checkpoint:
    apart = validation is not None and _best(records, validation) != len(records)
    return Checkpoint(
        epoch=len(records),
        model=state_of(model),
        optimizer=optimizer_state(model, optimizer),
        records=records,
        best={name: tensor.clone() for name, tensor in best.items()} if apart else {},
    )


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


@final
@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Run:
    """What all steps of a training have in common."""

    fabric: Fabric
    model: Any
    optimizer: Any
    recipe: Recipe
    objective: Objective
    progress: Progress

    def trained(
        self, loader: Iterable[object], after_step: Callable[[], object], description: str
    ) -> Tally:
        """One pass that learns."""
        tally = Tally()
        for batch in self.progress(loader, description=description, total=length(loader)):
            self._step(read_batch(batch).to(self.fabric.device), tally)
            after_step()
        return tally

    def _step(self, batch: Batch, tally: Tally) -> None:
        if self.recipe.flip or self.recipe.shift:
            batch = _augmented(batch, self.recipe)
        try:
            assessment = self.objective(self.model, batch)
        except ValueError as error:
            if len(batch) > 1 or isinstance(error, PrunellaError):
                raise
            raise DataError(
                f"a batch of the training loader holds one sample only, which this network cannot "
                f"learn from ({error}); use another batch size, or drop_last=True."
            ) from None
        self._require_finite(assessment.loss, "the training loss")
        self.optimizer.zero_grad()
        self.fabric.backward(assessment.loss)
        if self.recipe.clip is not None:
            norm = clip_grad_norm_(self.model.parameters(), self.recipe.clip)
            self._require_finite(norm, "the norm of the gradient")
        self.optimizer.step()
        tally.add(assessment, len(batch))

    def _require_finite(self, value: Tensor, what: str) -> None:
        if not bool(torch.isfinite(value)):
            raise DataError(
                f"{what} became {float(value.detach())}; lower the learning rate "
                f"(now at most {self.recipe.learning_rate}) or check the inputs for NaN."
            )


def _augmented(batch: Batch, recipe: Recipe) -> Batch:
    inputs = batch.inputs
    images = inputs.args[0] if len(inputs.args) == 1 and not inputs.kwargs else None
    if not isinstance(images, Tensor) or images.ndim != 4:
        raise InputError(
            "the recipe shifts or mirrors images, but the training loader yields inputs with "
            f"tensors of shapes {inputs.words()}; expected one tensor (N, C, H, W). Set shift to 0 "
            "and flip to false in the recipe."
        )
    return replace(batch, inputs=Inputs(args=(augment(images, recipe),)))
