"""The samples that a user gives, looked at before any work is done with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from prunella.bounds.checks import check_count
from prunella.certificate import check_top_k
from prunella.core.batches import read_batch
from prunella.core.errors import DataError, InputError, PrunellaError
from prunella.core.inputs import Inputs
from prunella.core.modes import evaluating
from prunella.core.outputs import class_scores, logits_of
from prunella.core.progress import Progress
from prunella.core.samples import SampleIds


def refuse_iterators(**loaders: Iterable[object] | None) -> None:
    """Each loader is read several times; an iterator would be empty from the second time on."""
    for name, loader in loaders.items():
        if isinstance(loader, (Tensor, Mapping)):
            raise DataError(
                f"{name} is a {type(loader).__name__}, which is one batch; give a DataLoader or a "
                "list of batches, for instance [batch]."
            )
        if loader is not None and iter(loader) is loader:
            raise DataError(
                f"{name} is an iterator, which can be read only once; give a DataLoader or a list "
                "of batches."
            )


def first_sample(loader: Iterable[object], name: str = "calibration") -> Inputs:
    """The first input of a loader, as a batch of one.

    Raises:
        DataError: the loader is empty.
    """
    with _only_looking(loader):
        for batch in loader:
            read = read_batch(batch)
            if len(read):
                return read.inputs.samples(slice(1))
    raise DataError(f"the {name} loader is empty; expected at least one sample.")


@contextmanager
def _only_looking(loader: Iterable[object]) -> Iterator[None]:
    """A shuffling loader draws from its generator or from torch's; neither is moved on."""
    own = loader.generator if isinstance(loader, DataLoader) else None
    state = own.get_state() if isinstance(own, torch.Generator) else None
    with torch.random.fork_rng():
        try:
            yield
        finally:
            if isinstance(own, torch.Generator) and state is not None:
                own.set_state(state)


def check_loaders(
    model: nn.Module, *, of_classes: tuple[str, ...], **loaders: Iterable[object] | None
) -> None:
    """Run the first sample of each loader, so that what does not fit is noticed before any work.

    Args:
        model: Untouched.
        of_classes: Names of the loaders for which there must be one row of class scores.
        loaders: By name; one that is given twice is looked at once.

    Raises:
        DataError: a loader is empty.
        InputError: the model cannot be run on a sample, or its outputs hold no logits.
    """
    seen: set[int] = set()
    for name in sorted(loaders, key=lambda name: name not in of_classes):
        loader = loaders[name]
        if loader is not None and id(loader) not in seen:
            seen.add(id(loader))
            sample = first_sample(loader, name)
            _require_logits(model, sample, name, of_classes=name in of_classes)


def check_claims(
    model: nn.Module,
    certification: Iterable[object] | None,
    *,
    per_class: bool,
    per_layer: bool,
    top_k: int | None,
) -> None:
    """What else a certificate is to bound, checked before any work; see `certify`.

    Raises:
        InputError: there are no samples for it, or not so many classes.
    """
    asked = {"per_class": per_class, "per_layer": per_layer, "top_k": top_k is not None}
    names = [name for name, wanted in asked.items() if wanted]
    if names and certification is None:
        raise InputError(
            f"{' and '.join(names)} asks for bounds of the certificate, but there are no "
            "certification samples; give some that nothing else has seen."
        )
    if top_k is not None and certification is not None:
        check_count("top_k", top_k, low=1)
        outputs = _outputs(model, first_sample(certification, "certification"), "certification")
        check_top_k(top_k, class_scores(outputs, 1).shape[1])


def _require_logits(model: nn.Module, sample: Inputs, loader: str, *, of_classes: bool) -> None:
    name = type(model).__name__
    outputs = _outputs(model, sample, loader)
    if of_classes:
        class_scores(outputs, 1, whose=name)
    else:
        logits_of(outputs, whose=name)


def _outputs(model: nn.Module, sample: Inputs, loader: str) -> object:
    """What the model returns for a sample."""
    first = next(model.parameters(), None)
    moved = sample if first is None else sample.to(first.device)
    with evaluating(model), torch.random.fork_rng():
        try:
            return moved.call(model)
        except PrunellaError:
            raise
        except Exception as error:  # the model's own code may raise anything
            raise InputError(
                f"{type(model).__name__} cannot be run on the first {loader} sample, "
                f"{_described(sample)} "
                f"({type(error).__name__}: {error}). Expected inputs that it takes: a tensor, a "
                "dictionary of keyword arguments, or a tuple for several arguments; with labels in "
                "a pair, (inputs, labels) or ((first, second), labels)."
            ) from error


def _described(sample: Inputs) -> str:
    """How a sample is given to the model."""
    named = [f"{name}={_shape(value)}" for name, value in sample.kwargs.items()]
    words = ", ".join([*(_shape(value) for value in sample.args), *named])
    return f"called with ({words})"


def _shape(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    return type(value).__name__


def labelled(loader: Iterable[object] | None) -> Iterable[object] | None:
    """The loader if its samples have labels, as far as its first batch shows."""
    if loader is None:
        return None
    with _only_looking(loader):
        first = next((read_batch(batch) for batch in loader), None)
    return None if first is not None and first.given_labels is None else loader


def sample_ids(loader: Iterable[object], progress: Progress, description: str) -> SampleIds:
    """Fingerprints of all samples of a loader."""
    with torch.random.fork_rng():
        batches = progress(loader, description=description)
        return SampleIds.union(read_batch(batch).ids for batch in batches)


def refuse_overlap(certification: Iterable[object], used: SampleIds, progress: Progress) -> None:
    """Raise DataError where certification samples repeat, or are among the used ones."""
    found = sample_ids(certification, progress, "fingerprints of certification samples")
    repeated = found.count - len(found.hashes)
    if repeated:
        raise DataError(
            f"{repeated} of {found.count} certification samples repeat another one; the bounds of "
            "a certificate need independent samples, so remove the duplicates."
        )
    common = found.overlap(used)
    if common:
        raise DataError(
            f"{common} of {found.count} certification samples are also used for calibration or "
            "retraining, which would make the certificate worthless; certify on samples that "
            "nothing else has seen."
        )
