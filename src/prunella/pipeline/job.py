"""From a trained network and samples to a small network with a certificate."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol, final

import torch
from torch import nn

from prunella.certificate import certify
from prunella.core.budgets import Budget, Latency
from prunella.core.errors import SurgeryError
from prunella.core.progress import Progress
from prunella.core.results import Accuracies, Robustness
from prunella.core.samples import SampleIds
from prunella.core.types import ChannelGraph, ChannelScores
from prunella.graph.labelled_run import require_prunable
from prunella.measure import accuracy, compare_latency, cost, robustness
from prunella.measure.robustness import are_images
from prunella.methods import method as method_named
from prunella.methods import score
from prunella.pipeline.repairing import repaired
from prunella.pipeline.result import PruneResult
from prunella.pipeline.samples import (
    check_claims,
    check_loaders,
    first_sample,
    labelled,
    refuse_iterators,
    refuse_overlap,
    sample_ids,
)
from prunella.planning import make_plan
from prunella.plans import Plan
from prunella.retrain import Checkpoint, Recipe, fit
from prunella.sensitivity import PassStore, check_weights
from prunella.terminal import progress_for_people
from prunella.tracing import Pattern, trace, without_groups

DEFAULT_RECIPE = Recipe(epochs=5, learning_rate=0.01)


class Stages(Protocol):
    """Where the results of the long stages are kept while a run lasts."""

    def scoring(self) -> PassStore | None:
        """Where a long pass that scores keeps how far it has come, if anywhere."""
        ...

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

    def scoring(self) -> PassStore | None:
        """Nowhere."""
        return None

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


def say_nothing(_: str) -> None:
    """Nobody listens."""


@torch.random.fork_rng()
def prune(
    model: nn.Module,
    calibration: Iterable[object],
    *,
    budget: Budget | Latency,
    certification: Iterable[object] | None = None,
    evaluation: Iterable[object] | None = None,
    retraining: Iterable[object] | None = None,
    recipe: Recipe = DEFAULT_RECIPE,
    example_inputs: object = None,
    include: Sequence[Pattern] = (),
    exclude: Sequence[Pattern] = (),
    through_norms: bool = False,
    equal_layers: bool = False,
    method: str = "pfp",
    multiple: int = 1,
    latency_batches: tuple[int, ...] = (),
    robustness_samples: int = 0,
    alpha: float = 0.05,
    delta: float = 0.01,
    per_class: bool = False,
    per_layer: bool = False,
    top_k: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    stages: Stages | None = None,
    on_stage: Callable[[str], None] = say_nothing,
) -> PruneResult:
    """Make a trained network small and certify how far the small one can be trusted.

    Trace, score, plan, cut, repair (least squares and batch norm, or batch norm alone where that
    is better on held-out calibration samples), retrain towards the original's outputs, certify.
    The given model is not changed.

    Args:
        model: Its outputs are logits or hold them, see `logits_of`; (N, classes) for accuracy and
            certificate, else of any shape.
        calibration: Yields inputs, with or without labels, as do the other loaders: tensors,
            tuples of positional or dictionaries of keyword arguments, see `read_batch`. Scores the
            channels. Training samples will do. Some methods need labels.
        budget: `Params(0.4)`, `Flops(0.5)`, `Bytes(0.5)` or `Latency(0.6)`; see `plan`.
        certification: Samples that neither the training of the original nor any other step has
            seen, with labels for the bound on the drop of accuracy. Without it there is no
            certificate.
        evaluation: Samples with labels for the accuracy at each stage; by default the
            certification samples, if they have labels.
        retraining: Samples for batch-norm statistics and retraining; by default the calibration
            samples. Labels are not used: the original is the teacher.
        recipe: How to retrain; `Recipe(epochs=0)` to leave it out.
        example_inputs: For tracing; by default the first calibration sample.
        include: If given, only channels of these modules may be removed; see `trace`.
        exclude: Modules whose channels all stay.
        through_norms: Whether channels that a layer norm mixes may be removed too; see `trace`.
        equal_layers: Whether layers alike keep equal numbers of units; see `trace`.
        method: A registered method; it scores the channels in its own way.
        multiple: Keep multiples of this many channels; 8 suits CPUs.
        latency_batches: Batch sizes to measure run times at; none by default.
        robustness_samples: Compare the networks on so many of the evaluation samples with
            corruptions, see `robustness`; none by default, nor where the samples are no images.
        alpha: Share of samples on which the certificate's bound on the outputs may be exceeded.
        delta: Probability that a given bound of the certificate is wrong.
        per_class: Whether the certificate bounds the disagreement of each class, too, as the
            following ones do for others; see `certify`.
        per_layer: Whether it bounds the errors of the layers that read cut channels.
        top_k: Whether it bounds the drop of top-k accuracy, and for which k.
        seed: For everything random.
        progress: Reports progress; by default bars on a terminal.
        stages: Keeps the results of the long stages, so that an interrupted run can go on.
        on_stage: Told in words when a stage begins.

    Raises:
        PrunellaError: see `trace`, `sensitivities`, `plan`, `Plan.apply` and `certify`; besides,
            certification samples that are also used for calibration or retraining are refused
            before any work is done with them.
    """
    loaders = {
        "calibration": calibration,
        "certification": certification,
        "evaluation": evaluation,
        "retraining": retraining,
    }
    refuse_iterators(**loaders)
    bars = progress if progress is not None else progress_for_people()
    kept = stages if stages is not None else NoStages()
    retraining = retraining if retraining is not None else calibration
    check_weights(model)
    check_loaders(model, of_classes=("certification", "evaluation"), **loaders)
    check_claims(model, certification, per_class=per_class, per_layer=per_layer, top_k=top_k)
    sample = first_sample(calibration)
    judged = evaluation if evaluation is not None else labelled(certification)
    examples = example_inputs if example_inputs is not None else sample
    on_stage("tracing the network")
    graph = trace(
        model,
        examples,
        include=include,
        exclude=exclude,
        through_norms=through_norms,
        equal_layers=equal_layers,
    )
    require_prunable(graph)
    on_stage("scoring the channels")
    scores = scored(model, graph, calibration, method, seed, kept, bars)
    make = partial(
        make_plan,
        scores=scores,
        budget=budget,
        method=method,
        model=model,
        multiple=multiple,
        seed=seed,
        progress=bars,
    )
    seen = calibration_samples(calibration, scores, bars)
    used = used_samples(seen, calibration, retraining, bars)
    if certification is not None:
        refuse_overlap(certification, used, bars)
    plan, small, difference = cut(model, graph, make, on_stage)
    plan = replace(plan, samples=seen)  # they repair the network even where they did not score it
    on_stage("measuring accuracy")
    original = accuracy_of(model, judged, bars)
    after_cut = accuracy_of(small, judged, bars)
    on_stage("repairing")
    small = repaired(model, small, plan, retraining, seed=seed, progress=bars)
    after_repair = accuracy_of(small, judged, bars)
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
    after_retrain = accuracy_of(small, judged, bars) if records else None
    certificate = None
    if certification is not None:
        on_stage("certifying")
        certificate = certify(
            model,
            small,
            certification,
            alpha=alpha,
            delta=delta,
            per_class=per_class,
            top_k=top_k,
            layers=plan if per_layer else None,
            used=(used,),
            progress=bars,
        )
    on_stage("measuring run times")
    latency = (
        compare_latency(model, small, sample, batches=latency_batches, progress=bars)
        if latency_batches
        else ()
    )
    corrupted = robustness_of(model, small, judged, robustness_samples, bars)
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
        robustness=corrupted,
    )


def cut(
    model: nn.Module,
    graph: ChannelGraph,
    make: Callable[[ChannelGraph], Plan],
    on_stage: Callable[[str], None],
) -> tuple[Plan, nn.Module, float]:
    """Plan and cut; groups whose cut is not faithful are left whole, and the plan made again."""
    while True:
        try:
            on_stage("planning")
            plan = make(graph)
            on_stage("cutting, and comparing with the masked original")
            small, difference = plan.apply_verified(model)
        except SurgeryError as error:
            if not error.group:
                raise
            reason = "its cut network does not compute what the masked original computes"
            graph = without_groups(graph, {error.group: reason})
            require_prunable(graph)
        else:
            return plan, small, difference


def scored(
    model: nn.Module,
    graph: ChannelGraph,
    calibration: Iterable[object],
    method: str,
    seed: int,
    stages: Stages,
    progress: Progress,
) -> ChannelScores | None:
    """The method's scores, or those kept before; None for a method that uses none."""
    chosen = method_named(method)
    if not chosen.uses_scores:
        return None
    scores = stages.load_scores()
    if scores is None:
        store = stages.scoring() if chosen.resumes else None
        scores = score(
            model, graph, calibration, method, seed=seed, resume=store, progress=progress
        )
        stages.save_scores(scores)
    return scores


def calibration_samples(
    calibration: Iterable[object], scores: ChannelScores | None, progress: Progress
) -> SampleIds:
    """Fingerprints of the calibration samples, which some methods take while they score."""
    if scores is not None and scores.samples.count:
        return scores.samples
    return sample_ids(calibration, progress, "fingerprints of calibration samples")


def used_samples(
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


def robustness_of(
    model: nn.Module,
    small: nn.Module,
    loader: Iterable[object] | None,
    samples: int,
    progress: Progress,
) -> Robustness | None:
    """Both networks on corrupted images, if there are any and so many are asked for."""
    if not samples or loader is None or not are_images(first_sample(loader, "evaluation")):
        return None
    return robustness(model, small, loader, samples=samples, progress=progress)


def accuracy_of(
    model: nn.Module, loader: Iterable[object] | None, progress: Progress
) -> tuple[float, int] | None:
    """Top-1 accuracy and number of samples; None where there are none."""
    return None if loader is None else accuracy(model, loader, progress=progress)
