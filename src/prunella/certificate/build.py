"""Run both networks over the certification samples and write down what follows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from prunella.bounds import samples_needed
from prunella.bounds.checks import check_count, check_probability
from prunella.certificate.layers import Cut, LayerErrors, read_layers
from prunella.certificate.losses import Loss, check_losses, loss_bound, loss_values
from prunella.certificate.outcomes import bounds_from_outcomes, class_bounds, top_k_bound
from prunella.certificate.recording import Outcomes, Recorder, Seen
from prunella.certificate.words import Bounded, assumptions
from prunella.core.batches import Batch, read_batch
from prunella.core.certificates import Certificate
from prunella.core.certified import LayerBound
from prunella.core.digests import model_digest
from prunella.core.modes import evaluating
from prunella.core.outputs import logits_of
from prunella.core.progress import Progress, length, silent
from prunella.core.samples import SampleIds


def certify(
    original: nn.Module,
    small: nn.Module,
    loader: Iterable[object],
    *,
    alpha: float = 0.05,
    delta: float = 0.01,
    per_class: bool = False,
    top_k: int | None = None,
    losses: Mapping[str, Loss] = MappingProxyType({}),
    layers: Cut | None = None,
    used: Sequence[SampleIds] = (),
    progress: Progress = silent,
) -> Certificate:
    """Bound how far `small` strays from `original` on new samples.

    Both networks run in evaluation mode, each on the device of its parameters, and are left as
    they were. Bounds and assumptions: `bounds_from_outcomes` and `docs/theory/certificates.md`.

    Args:
        original: The network before pruning; its logits are (N, classes), see `logits_of`.
        small: The finished small network, same output.
        loader: Batches of inputs, with or without labels, in any form that `read_batch` knows; read
            once. Samples that were used for nothing else, each once. Their order plays no part.
        alpha: Share of new samples on which the bound for the outputs may be exceeded.
        delta: Probability that one given bound is wrong.
        per_class: Whether to bound the disagreement for each class that the original names, all of
            them together with confidence 1 - delta.
        top_k: Bound the drop of top-k accuracy for this k, too; without labels, how often the
            original's class is not among the k best of the small network.
        losses: Functions `loss(model_output, target) -> tensor (N,)` of numbers from 0 to 1, by
            name: the mean of each and its increase over the original are bounded. They get what
            a model returns, and the labels as the loader yields them, tensors on the model's
            device; None without labels.
        layers: The plan that the small network was made with: bound the errors of the outputs of
            the linear layers and convolutions that read cut channels, all of them together with
            confidence 1 - delta. Layers that do not run equally often in both networks, or whose
            output does not have the sample as its first axis, are left out.
        used: The samples that training, calibration or the choice of the small network has seen;
            none of them may come again.
        progress: Shows how far the loader has been read.

    Raises:
        InputError: alpha, delta or top_k is out of range, the outputs hold no logits, a loss
            returns no tensor (N,) of numbers from 0 to 1, or `layers` is not the small network's
            plan.
        DataError: the loader is empty, repeats a sample, or yields a used one; labels are missing
            in some batches or out of range; an output is not finite or not (N, classes).
    """
    alpha, delta = check_probability("alpha", alpha), check_probability("delta", delta)
    top_k = None if top_k is None else check_count("top_k", top_k, low=1)
    check_losses(losses)
    watched = () if layers is None else read_layers(original, small, layers)
    pair = _Pair(original=original, small=small, losses=losses, layers=LayerErrors(watched))
    seen, recorder = Seen(SampleIds.union(used)), Recorder(top_k)
    batches = progress(loader, description="Certifying", total=length(loader))
    with evaluating(original), evaluating(small):
        for item in batches:
            batch = read_batch(item)
            if len(batch) and seen.add(batch):
                pair.record(batch, recorder)
    seen.check()
    bounds = pair.layers.bounds(alpha, delta)
    stated = _stated(
        recorder.outcomes(), seen, bounds, alpha, delta, per_class=per_class, top_k=top_k
    )
    return Certificate(
        **stated, original_digest=model_digest(original), small_digest=model_digest(small)
    )


def _stated(
    outcomes: Outcomes,
    seen: Seen,
    layers: tuple[LayerBound, ...],
    alpha: float,
    delta: float,
    *,
    per_class: bool,
    top_k: int | None,
) -> dict[str, Any]:
    """All fields of the certificate but the names of the networks."""
    bounds = bounds_from_outcomes(
        outcomes.original,
        outcomes.small,
        outcomes.labels,
        outcomes.errors,
        alpha=alpha,
        delta=delta,
    )
    classes = class_bounds(outcomes.original, outcomes.small, delta) if per_class else ()
    order = seen.order
    return {
        "alpha": alpha,
        "delta": delta,
        **asdict(bounds),
        "samples_digest": seen.ids.digest,
        "assumptions": assumptions(
            Bounded(
                labelled=outcomes.labels is not None,
                classes=len(classes),
                top_k=top_k is not None,
                losses=len(outcomes.losses),
                layers=len(layers),
            ),
            delta=delta,
            used_samples=len(seen.used.hashes),
        ),
        "samples_needed": samples_needed(alpha, delta),
        "used_samples": len(seen.used.hashes),
        "classes": classes,
        "top_k": top_k_bound(outcomes, top_k, delta),
        "losses": tuple(
            loss_bound(name, first[order], second[order], delta)
            for name, (first, second) in outcomes.losses.items()
        ),
        "layers": layers,
    }


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class _Pair:
    """Both networks, and what is looked at while they run."""

    original: nn.Module
    small: nn.Module
    losses: Mapping[str, Loss]
    layers: LayerErrors

    def record(self, batch: Batch, recorder: Recorder) -> None:
        """Run both on a batch, each where it lives, and write down what they answer."""
        with self.layers.watching(self.original) as inside:
            first = self._answer(batch, recorder, 0, "original", self.original)
        with self.layers.watching(self.small) as inside_small:
            second = self._answer(batch, recorder, 1, "small", self.small)
        recorder.add(batch, first, second)
        self.layers.add(inside, inside_small, len(batch))

    def _answer(
        self, batch: Batch, recorder: Recorder, column: int, whose: str, model: nn.Module
    ) -> Tensor:
        """Logits of one network as float64 on the CPU; its losses go to the recorder."""
        tensors = [*model.parameters(), *model.buffers()]
        moved = batch.to(tensors[0].device) if tensors else batch
        output = moved.inputs.call(model)
        logits = logits_of(output, whose=f"the {whose} network").detach().cpu().double()
        for name, loss in self.losses.items():
            values = loss_values(name, loss, output, moved.given_labels, len(batch), whose=whose)
            recorder.losses[name][column].append(values)
        return logits
