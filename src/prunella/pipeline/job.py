"""From a trained network and samples to a small network with a certificate."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol, final

import torch
from torch import Tensor, nn

from prunella.certificate import certify
from prunella.core.batches import split_batch
from prunella.core.budgets import Budget
from prunella.core.errors import DataError, SurgeryError
from prunella.core.progress import Progress
from prunella.core.results import Accuracies
from prunella.core.samples import SampleIds
from prunella.core.types import ChannelGraph, ChannelScores
from prunella.graph.labelled_run import require_prunable
from prunella.measure import accuracy, compare_latency, cost
from prunella.methods import method as method_named
from prunella.methods import score
from prunella.pipeline.repairing import repaired
from prunella.pipeline.result import PruneResult
from prunella.plans import Plan, make_plan
from prunella.retrain import Checkpoint, Recipe, fit
from prunella.sensitivity import check_weights
from prunella.terminal import progress_for_people
from prunella.tracing import Pattern, trace, without_groups

DEFAULT_RECIPE = Recipe(epochs=5, learning_rate=0.01)


class Stages(Protocol):
    """Where the results of the long stages are kept while a run lasts."""

    def save_scores(self, scores: ChannelScores) -> None:
        """Keep the scores."""
        ...

    def load_scores(self) -> ChannelScores | None:
        """Scores kept before, if any."""
        ...

    def save_training(self, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint of the retraining."""
        ...

    def load_training(self) -> Checkpoint | None:
        """The checkpoint kept last, if any."""
        ...


@final
class NoStages:
    """Keeps nothing."""

    def save_scores(self, scores: ChannelScores) -> None:
        """Keep nothing."""

    def load_scores(self) -> ChannelScores | None:
        """Nothing was kept."""
        return None

    def save_training(self, checkpoint: Checkpoint) -> None:
        """Keep nothing."""

    def load_training(self) -> Checkpoint | None:
        """Nothing was kept."""
        return None


def _say_nothing(_: str) -> None:
    """Nobody listens."""


@torch.random.fork_rng()
def prune(
    model: nn.Module,
    calibration: Iterable[object],
    *,
    budget: Budget,
    certification: Iterable[object] | None = None,
    evaluation: Iterable[object] | None = None,
    retraining: Iterable[object] | None = None,
    recipe: Recipe = DEFAULT_RECIPE,
    example_inputs: object = None,
    include: Sequence[Pattern] = (),
    exclude: Sequence[Pattern] = (),
    method: str = "pfp",
    multiple: int = 1,
    latency_batches: tuple[int, ...] = (),
    alpha: float = 0.05,
    delta: float = 0.01,
    seed: int = 0,
    progress: Progress | None = None,
    stages: Stages | None = None,
    on_stage: Callable[[str], None] = _say_nothing,
) -> PruneResult:
    """Make a trained network small and certify how far the small one can be trusted.

    Trace, score, plan, cut, repair (least squares and batch norm, or batch norm alone where that
    is better on held-out calibration samples), retrain towards the original's outputs, certify.
    The given model is not changed.

    Args:
        model: Maps inputs (N, ...) to logits (N, classes).
        calibration: Yields inputs, or (inputs, labels); scores the channels. Training
            samples will do. Some methods need labels.
        budget: `Params(0.4)` or `Flops(0.5)`.
        certification: Yields (inputs, labels) that neither the training of the original nor any
            other step has seen. Without it there is no certificate.
        evaluation: Yields (inputs, labels) for the accuracy at each stage; by default the
            certification samples.
        retraining: Samples for batch-norm statistics and retraining; by default the calibration
            samples. Labels are not used: the original is the teacher.
        recipe: How to retrain; `Recipe(epochs=0)` to leave it out.
        example_inputs: For tracing; by default the first calibration sample.
        include: If given, only channels of these modules may be removed; see `trace`.
        exclude: Modules whose channels all stay.
        method: A registered method; it scores the channels in its own way.
        multiple: Keep multiples of this many channels; 8 suits CPUs.
        latency_batches: Batch sizes to measure run times at; none by default.
        alpha: Share of samples on which the certificate's bound on the outputs may be exceeded.
        delta: Probability that a given bound of the certificate is wrong.
        seed: For everything random.
        progress: Reports progress; by default bars on a terminal.
        stages: Keeps the results of the long stages, so that an interrupted run can go on.
        on_stage: Told in words when a stage begins.

    Raises:
        PrunellaError: see `trace`, `sensitivities`, `plan`, `Plan.apply` and `certify`; besides,
            certification samples that are also used for calibration or retraining are refused
            before any work is done with them.
    """
    _refuse_iterators(
        calibration=calibration,
        certification=certification,
        evaluation=evaluation,
        retraining=retraining,
    )
    bars = progress if progress is not None else progress_for_people()
    kept = stages if stages is not None else NoStages()
    retraining = retraining if retraining is not None else calibration
    check_weights(model)
    examples = example_inputs if example_inputs is not None else first_sample(calibration)
    on_stage("tracing the network")
    graph = trace(model, examples, include=include, exclude=exclude)
    require_prunable(graph)
    on_stage("scoring the channels")
    scores = _scores(model, graph, calibration, method, seed, kept, bars)
    make = partial(
        make_plan,
        scores=scores,
        budget=budget,
        method=method,
        multiple=multiple,
        seed=seed,
    )
    plan = make(graph)
    seen = _calibration_samples(calibration, scores, bars)
    used = _used_samples(seen, calibration, retraining, bars)
    if certification is not None:
        _refuse_overlap(certification, used, bars)
    on_stage("cutting, and comparing with the masked original")
    plan, small, difference = _cut(model, plan, make)
    plan = replace(plan, samples=seen)  # they repair the network even where they did not score it
    judged = evaluation if evaluation is not None else certification
    on_stage("measuring accuracy")
    original = _accuracy(model, judged, bars)
    after_cut = _accuracy(small, judged, bars)
    on_stage("repairing")
    small = repaired(model, small, plan, retraining, seed=seed, progress=bars)
    after_repair = _accuracy(small, judged, bars)
    on_stage("retraining towards the original's outputs")
    records = fit(
        small,
        retraining,
        recipe,
        seed=seed,
        teacher=copy.deepcopy(model),
        resume=kept.load_training(),
        on_epoch=kept.save_training,
        progress=bars,
    )
    after_retrain = _accuracy(small, judged, bars) if records else None
    certificate = None
    if certification is not None:
        on_stage("certifying")
        certificate = certify(
            model, small, certification, alpha=alpha, delta=delta, used=(used,), progress=bars
        )
    sample = first_sample(calibration)
    on_stage("measuring run times")
    latency = (
        compare_latency(model, small, sample, batches=latency_batches, progress=bars)
        if latency_batches
        else ()
    )
    return PruneResult(
        model=small,
        plan=plan,
        certificate=certificate,
        accuracy=Accuracies(
            original=original and original[0],
            after_cut=after_cut and after_cut[0],
            after_repair=after_repair and after_repair[0],
            after_retrain=after_retrain and after_retrain[0],
            samples=original[1] if original else 0,
        ),
        cost=(cost(model, examples), cost(small, examples)),
        latency=latency,
        scores=scores,
        training=records,
        difference=difference,
    )


def _cut(
    model: nn.Module, plan: Plan, make: Callable[[ChannelGraph], Plan]
) -> tuple[Plan, nn.Module, float]:
    """The small network, after groups whose cut is not faithful were left whole; new plans then."""
    while True:
        try:
            small, difference = plan.apply_verified(model)
        except SurgeryError as error:
            if not error.group:
                raise
            reason = "its cut network does not compute what the masked original computes"
            graph = without_groups(plan.graph, {error.group: reason})
            require_prunable(graph)
            plan = make(graph)
        else:
            return plan, small, difference


def _refuse_iterators(**loaders: Iterable[object] | None) -> None:
    """Each loader is read several times; an iterator would be empty from the second time on."""
    for name, loader in loaders.items():
        if loader is not None and iter(loader) is loader:
            raise DataError(
                f"{name} is an iterator, which can be read only once; give a DataLoader or a list "
                "of batches."
            )


def first_sample(loader: Iterable[object]) -> Tensor:
    """The first input of a loader, as a batch of one.

    Raises:
        DataError: the loader is empty.
    """
    # A shuffling loader draws from the global generator, which is the caller's.
    with torch.random.fork_rng():
        for batch in loader:
            inputs = split_batch(batch).inputs
            if len(inputs):
                return inputs[:1]
    raise DataError("the calibration loader is empty; expected at least one sample.")


def sample_ids(loader: Iterable[object], progress: Progress, description: str) -> SampleIds:
    """Fingerprints of all samples of a loader."""
    with torch.random.fork_rng():
        batches = progress(loader, description=description)
        return SampleIds.union(SampleIds.of(split_batch(batch).inputs) for batch in batches)


def _scores(
    model: nn.Module,
    graph: ChannelGraph,
    calibration: Iterable[object],
    method: str,
    seed: int,
    stages: Stages,
    progress: Progress,
) -> ChannelScores | None:
    if not method_named(method).uses_scores:
        return None
    scores = stages.load_scores()
    if scores is None:
        scores = score(model, graph, calibration, method, seed=seed, progress=progress)
        stages.save_scores(scores)
    return scores


def _calibration_samples(
    calibration: Iterable[object], scores: ChannelScores | None, progress: Progress
) -> SampleIds:
    """Fingerprints of the calibration samples, which some methods take while they score."""
    if scores is not None and scores.samples.count:
        return scores.samples
    return sample_ids(calibration, progress, "fingerprints of calibration samples")


def _used_samples(
    seen: SampleIds,
    calibration: Iterable[object],
    retraining: Iterable[object],
    progress: Progress,
) -> SampleIds:
    """All samples that inform the small network."""
    parts = [seen]
    if retraining is not calibration:
        parts.append(sample_ids(retraining, progress, "fingerprints of retraining samples"))
    return SampleIds.union(parts)


def _refuse_overlap(certification: Iterable[object], used: SampleIds, progress: Progress) -> None:
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


def _accuracy(
    model: nn.Module, loader: Iterable[object] | None, progress: Progress
) -> tuple[float, int] | None:
    return None if loader is None else accuracy(model, loader, progress=progress)
