"""The smallest network whose risk is certified: candidates from large to small, until one fails."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import torch
from torch import nn

from prunella.certificate import certify
from prunella.certificate.choice import certificate_of_choice
from prunella.core.budgets import Budget, Params
from prunella.core.certified import Choice
from prunella.core.progress import Progress
from prunella.core.results import Accuracies
from prunella.core.samples import SampleIds
from prunella.core.types import ChannelGraph, ChannelScores
from prunella.core.walks import SHARES, Risk, Step, Walk
from prunella.graph.labelled_run import require_prunable
from prunella.measure import compare_latency, cost
from prunella.pipeline.candidates import Candidate, Candidates, reachable_plans
from prunella.pipeline.job import (
    NoStages,
    Stages,
    accuracy_of,
    calibration_samples,
    cut,
    robustness_of,
    say_nothing,
    scored,
    used_samples,
)
from prunella.pipeline.judging import Judge, require_samples
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
from prunella.pipeline.task import Task
from prunella.pipeline.walking import last_passed, lowest_promising, step_words, walk
from prunella.planning import make_plan
from prunella.plans import Plan
from prunella.retrain import Recipe
from prunella.sensitivity import check_weights
from prunella.terminal import progress_for_people
from prunella.tracing import Pattern, trace

_NO_RETRAINING = Recipe(epochs=0)


@torch.random.fork_rng()
def smallest(
    model: nn.Module,
    calibration: Iterable[object],
    certification: Iterable[object],
    *,
    risk: Risk = "accuracy_drop",
    alpha: float | str = 0.005,
    delta: float = 0.01,
    unit: type[Budget] = Params,
    shares: Sequence[float] = SHARES,
    selection: Iterable[object] | None = None,
    evaluation: Iterable[object] | None = None,
    retraining: Iterable[object] | None = None,
    recipe: Recipe = _NO_RETRAINING,
    example_inputs: object = None,
    include: Sequence[Pattern] = (),
    exclude: Sequence[Pattern] = (),
    through_norms: bool = False,
    equal_layers: bool = False,
    method: str = "pfp",
    multiple: int = 1,
    latency_batches: tuple[int, ...] = (),
    robustness_samples: int = 0,
    outputs_alpha: float = 0.05,
    per_class: bool = False,
    per_layer: bool = False,
    top_k: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    stages: Stages | None = None,
    on_stage: Callable[[str], None] = say_nothing,
) -> PruneResult:
    """Find the smallest network whose risk on new samples is at most alpha, and certify it.

    Candidates are made as in `prune`, each from the original, and tested on the certification
    samples from large to small until one fails; the last that passed is the result. The
    probability that its risk is above alpha is at most delta, however many were tried
    (fixed-sequence testing; Angelopoulos et al., "Learn then Test", 2021; theorem 1 of
    `docs/theory/smallest.md`). If none passes, the result holds a copy of the original.

    Args:
        model: Untouched. Its outputs are logits (N, classes) or hold them, see `logits_of`.
        calibration: As in `prune`; scores the channels.
        certification: Samples that neither the training of the original nor any other step has
            seen; with labels for the drop of accuracy. More of them let smaller networks pass.
        risk: "accuracy_drop", the accuracy of the original minus that of the small network; or
            "disagreement", the share of samples for which they name different classes.
        alpha: The tolerated risk, such as 0.005 or "0.5%".
        delta: Probability that the risk of the result is above alpha.
        unit: What is to be small: `Params`, `Flops` or `Bytes`.
        shares: Kept shares of the candidates, from large to small, fixed beforehand.
        selection: Samples that are used for nothing else but to guess, before any test, where the
            walk may begin, so that fewer candidates are made; best as many as for certification,
            with labels for the drop of accuracy. Without them, or with too few, it begins at the
            largest candidate.
        evaluation: As in `prune`.
        retraining: As in `prune`.
        recipe: How to retrain each candidate; by default not at all.
        example_inputs: As in `prune`, like the following ones.
        include: See `trace`.
        exclude: See `trace`.
        through_norms: See `trace`.
        equal_layers: See `trace`.
        method: A registered method.
        multiple: Keep multiples of this many channels.
        latency_batches: Batch sizes to measure run times at; none by default.
        robustness_samples: As in `prune`.
        outputs_alpha: Share of samples on which the certificate's bound on the outputs may be
            exceeded: alpha of `certify`.
        per_class: As in `prune`, like the following ones; these bounds hold for all candidates.
        per_layer: Whether the errors of layers are bounded.
        top_k: Whether the drop of top-k accuracy is bounded, and for which k.
        seed: For everything random.
        progress: Reports progress; by default bars on a terminal.
        stages: Keeps the scores, so that an interrupted run can go on.
        on_stage: Told in words when a stage begins, and what each test found.

    Returns:
        As `prune`, with `walk`: what was tested and what was found. The bounds of the certificate
        hold for the chosen network although it was chosen on the same samples: that of `risk` is
        alpha, the others are made at delta divided by the number of candidates.

    Raises:
        PrunellaError: as `prune`; before any work where there are too few certification samples
            for any candidate to pass, with the number that is needed.
    """
    task = Task.checked(risk=risk, alpha=alpha, delta=delta, unit=unit, shares=shares)
    loaders = {
        "calibration": calibration,
        "certification": certification,
        "evaluation": evaluation,
        "retraining": retraining,
        "selection": selection,
    }
    refuse_iterators(**loaders)
    bars = progress if progress is not None else progress_for_people()
    retraining = retraining if retraining is not None else calibration
    check_weights(model)
    judging = ("certification", "evaluation", "selection")
    check_loaders(model, of_classes=judging, **loaders)
    check_claims(model, certification, per_class=per_class, per_layer=per_layer, top_k=top_k)
    task.require_labels(certification=certification, selection=selection)
    fresh = sample_ids(certification, bars, "fingerprints of certification samples")
    require_samples(fresh.count, task.risk, task.alpha, task.delta)
    aside = SampleIds.none()
    if selection is not None:
        aside = sample_ids(selection, bars, "fingerprints of selection samples")
    sample = first_sample(calibration)
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
    kept = stages if stages is not None else NoStages()
    scores = scored(model, graph, calibration, method, seed, kept, bars)
    seen = calibration_samples(calibration, scores, bars)
    used = SampleIds.union([used_samples(seen, calibration, retraining, bars), aside])
    refuse_overlap(certification, used, bars)
    on_stage("planning the candidates")
    make = partial(_plan, scores=scores, method=method, multiple=multiple, seed=seed)
    candidates = _candidates(model, graph, make, task, retraining, recipe, seed=seed)
    start = 0
    if selection is not None and task.can_start_below(min(fresh.count, aside.count)):
        on_stage("looking for a start on the selection samples")
        judge = Judge(model, selection, task.risk)
        start = _start(candidates, judge, task, fresh.count, on_stage)
    on_stage("testing candidates from large to small")
    judge = Judge(model, certification, task.risk)
    steps, chosen = _walked(candidates, judge, task, start, bars, on_stage)
    found = _walk_of(task, candidates, start, steps, samples=fresh.count)
    judged = evaluation if evaluation is not None else labelled(certification)
    certificate = None
    if chosen is not None:
        on_stage("certifying")
        certificate = certificate_of_choice(
            certify(
                model,
                chosen.model,
                certification,
                alpha=outputs_alpha,
                delta=task.delta / len(candidates),
                per_class=per_class,
                top_k=top_k,
                layers=chosen.plan if per_layer else None,
                used=(used,),
                progress=bars,
            ),
            Choice(risk=task.risk, candidates=len(candidates)),
            level=task.alpha,
            delta=task.delta,
        )
    # The choice was made on the certification samples, so no later certificate may use them.
    informed = SampleIds.union([seen, aside, fresh])
    result = _Finished.of(model, graph, chosen, informed, seed=seed)
    on_stage("measuring accuracy and run times")
    latency = (
        compare_latency(model, result.model, sample, batches=latency_batches, progress=bars)
        if latency_batches
        else ()
    )
    return PruneResult(
        model=result.model,
        plan=result.plan,
        certificate=certificate,
        accuracy=_accuracies(model, chosen, judged, bars),
        cost=(cost(model, examples), cost(result.model, examples)),
        latency=latency,
        scores=scores,
        training=chosen.training if chosen is not None else (),
        difference=chosen.difference if chosen is not None else 0.0,
        walk=found,
        robustness=robustness_of(model, result.model, judged, robustness_samples, bars)
        if chosen is not None
        else None,
    )


def _plan(
    graph: ChannelGraph,
    budget: Budget,
    *,
    scores: ChannelScores | None,
    method: str,
    multiple: int,
    seed: int,
) -> Plan:
    return make_plan(graph, scores, budget, method, multiple=multiple, seed=seed)


def _candidates(
    model: nn.Module,
    graph: ChannelGraph,
    make: Callable[[ChannelGraph, Budget], Plan],
    task: Task,
    samples: Iterable[object],
    recipe: Recipe,
    *,
    seed: int,
) -> Candidates:
    """All candidates, planned; groups whose cut is not faithful are found out with the smallest."""
    budgets = [task.unit(share) for share in task.shares]
    last = reachable_plans(graph, make, budgets)[-1]

    def faithful(plan: Plan) -> tuple[Plan, nn.Module, float]:
        budget = cast(Budget, plan.requested)
        return cut(model, plan.graph, lambda found: make(found, budget), say_nothing)

    settled, *_ = faithful(last)
    plans = reachable_plans(settled.graph, make, budgets)
    return Candidates(model, plans, samples, recipe, seed=seed, cut=faithful)


def _start(
    candidates: Candidates,
    judge: Judge,
    task: Task,
    tests: int,
    on_stage: Callable[[str], None],
) -> int:
    """Place of the candidate to begin with: it looks safe on the selection samples."""

    def promising(place: int) -> bool:
        candidate = candidates.made(place, keep=True)
        safe = task.promising(judge(candidate.model), tests)
        share = cast(Budget, candidate.plan.requested).fraction
        verdict = "looks safe" if safe else "may be too small to begin with"
        on_stage(f"{100 * share:g} % of the {task.unit_words} {verdict}")
        return safe

    start = lowest_promising(len(candidates), promising)
    candidates.drop(range(start))
    return start


def _walked(
    candidates: Candidates,
    judge: Judge,
    task: Task,
    start: int,
    progress: Progress,
    on_stage: Callable[[str], None],
) -> tuple[tuple[Step, ...], Candidate | None]:
    """Test candidates; what was found, and the last candidate that passed."""
    passed: list[Candidate] = []

    def test(place: int, spent: float) -> Step:
        candidate = candidates.made(place)
        step = task.tested(
            judge(candidate.model),
            share=cast(Budget, candidate.plan.requested).fraction,
            cost=candidate.plan.achieved,
            spent=spent,
        )
        if step.passed:
            passed[:] = [candidate]
        on_stage(step_words(step, task.risk, task.unit_words))
        return step

    steps = walk(len(candidates), start, task.delta, test, progress=progress)
    return steps, passed[0] if passed else None


def _walk_of(
    task: Task, candidates: Candidates, start: int, steps: tuple[Step, ...], *, samples: int
) -> Walk:
    """The tests, with what they were for."""
    last = last_passed(steps)
    return Walk(
        risk=task.risk,
        unit=task.unit_words,
        alpha=task.alpha,
        delta=task.delta,
        samples=samples,
        shares=tuple(cast(Budget, plan.requested).fraction for plan in candidates.plans),
        start=start,
        steps=steps,
        chosen=None if last is None else last.share,
    )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Finished:
    model: nn.Module
    plan: Plan

    @staticmethod
    def of(
        model: nn.Module,
        graph: ChannelGraph,
        chosen: Candidate | None,
        samples: SampleIds,
        *,
        seed: int,
    ) -> _Finished:
        """The chosen network, or a copy of the original with a plan that keeps everything."""
        if chosen is not None:
            return _Finished(model=chosen.model, plan=replace(chosen.plan, samples=samples))
        whole = Plan.from_kept(graph, {}, seed=seed, samples=samples)
        return _Finished(model=copy.deepcopy(model), plan=whole)


def _accuracies(
    model: nn.Module,
    chosen: Candidate | None,
    loader: Iterable[object] | None,
    progress: Progress,
) -> Accuracies:
    original = accuracy_of(model, loader, progress)
    if chosen is None or original is None:
        return Accuracies(original=original and original[0], samples=original[1] if original else 0)

    def reached(network: nn.Module) -> float | None:
        found = accuracy_of(network, loader, progress)
        return found and found[0]

    return Accuracies(
        original=original[0],
        after_cut=reached(chosen.after_cut),
        after_repair=reached(chosen.after_repair),
        after_retrain=reached(chosen.model) if chosen.training else None,
        samples=original[1],
    )
