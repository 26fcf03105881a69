"""Run both networks over the certification samples and write down what follows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prunella.bounds.checks import check_probability
from prunella.certificate.digests import model_digest
from prunella.certificate.outcomes import bounds_from_outcomes
from prunella.core.batches import Batch, check_labels, read_batch
from prunella.core.certificates import Certificate
from prunella.core.errors import DataError
from prunella.core.inputs import Inputs
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
            once. Samples that were used for nothing else, each once.
        alpha: Share of new samples on which the bound for the outputs may be exceeded.
        delta: Probability that one given bound is wrong.
        used: The samples that training, calibration or the choice of the small network has seen;
            none of them may come again.
        progress: Shows how far the loader has been read.

    Raises:
        InputError: alpha or delta is not in (0, 1), or the outputs hold no logits.
        DataError: the loader is empty, repeats a sample, or yields a used one; labels are missing
            in some batches or out of range; an output is not finite or not (N, classes).
    """
    alpha, delta = check_probability("alpha", alpha), check_probability("delta", delta)
    seen = _Seen(SampleIds.union(used))
    outcomes = _Outcomes()
    batches = progress(loader, description="Certifying", total=length(loader))
    with evaluating(original), evaluating(small):
        for item in batches:
            batch = read_batch(item)
            if len(batch) and seen.add(batch.ids):
                answers = (
                    _run("original", original, batch.inputs),
                    _run("small", small, batch.inputs),
                )
                outcomes.add(batch, *answers)
    seen.check()
    bounds = bounds_from_outcomes(*outcomes.arrays(), alpha=alpha, delta=delta)
    return Certificate(
        alpha=alpha,
        delta=delta,
        n=bounds.n,
        disagreement=bounds.disagreement,
        disagreement_upper=bounds.disagreement_upper,
        accuracy_drop=bounds.accuracy_drop,
        accuracy_drop_upper=bounds.accuracy_drop_upper,
        logit_error_bound=bounds.logit_error_bound,
        samples_digest=seen.ids.digest,
        original_digest=model_digest(original),
        small_digest=model_digest(small),
        assumptions=_assumptions(delta, seen.used, labelled=bounds.accuracy_drop is not None),
    )


@dataclass(slots=True)
class _Seen:
    """Fingerprints of the samples read so far, and how many should not be among them."""

    used: SampleIds
    hashes: set[int] = field(default_factory=set)
    count: int = 0
    overlap: int = 0

    def add(self, batch: SampleIds) -> bool:
        """Note the samples; True as long as all of them may be used.

        The rest of the loader is still read after the first bad sample, but only to count.
        """
        fresh = batch.hashes - self.hashes
        self.overlap += len(fresh & self.used.hashes)
        self.hashes |= fresh
        self.count += batch.count
        return not self.repeated and not self.overlap

    @property
    def repeated(self) -> int:
        return self.count - len(self.hashes)

    @property
    def ids(self) -> SampleIds:
        return SampleIds(hashes=frozenset(self.hashes), count=self.count)

    def check(self) -> None:
        """Raise DataError unless the samples are new, distinct, and at least one."""
        if not self.count:
            raise DataError(
                "the certification loader yields no samples; expected at least one. "
                "Check the data set, and that the loader is not an iterator already read."
            )
        if self.overlap:
            raise DataError(
                f"{self.overlap} of the {len(self.hashes)} certification samples were already "
                "used to train, calibrate or choose the small network; a bound from them would not "
                "hold. Certify on samples set aside for nothing else."
            )
        if self.repeated:
            raise DataError(
                f"{self.repeated} of the {self.count} certification samples repeat another "
                "one; the bounds need independent samples. Remove the duplicates, and check that "
                "the loader samples without replacement and does not pad its last batch."
            )


@dataclass(slots=True)
class _Outcomes:
    """What both networks answered, sample by sample; a few numbers for each."""

    count: int = 0
    classes: int | None = None
    original: list[Tensor] = field(default_factory=list)
    small: list[Tensor] = field(default_factory=list)
    labels: list[Tensor] = field(default_factory=list)
    errors: list[Tensor] = field(default_factory=list)

    def add(self, batch: Batch, original: Tensor, small: Tensor) -> None:
        """Check the outputs (N, classes) of one batch and keep top classes and errors."""
        self._check_outputs("original", original, len(batch))
        self._check_outputs("small", small, len(batch))
        labels = batch.labels
        if labels is not None:
            check_labels(labels, original.shape[1])
            self.labels.append(labels.cpu().long())
        self.original.append(original.argmax(dim=1))
        self.small.append(small.argmax(dim=1))
        self.errors.append(_relative_errors(original, small))
        self.count += len(batch)

    def _check_outputs(self, name: str, outputs: Tensor, samples: int) -> None:
        if outputs.ndim != 2 or len(outputs) != samples or not outputs.shape[1]:
            raise DataError(
                f"the {name} network returns shape {tuple(outputs.shape)} for {samples} samples; "
                f"expected ({samples}, classes), one row of class scores for each sample."
            )
        self.classes = self.classes or outputs.shape[1]
        if outputs.shape[1] != self.classes:
            raise DataError(
                f"the {name} network returns {outputs.shape[1]} classes where {self.classes} were "
                "returned before; expected both networks to return the same classes throughout."
            )
        bad = ~torch.isfinite(outputs).all(dim=1)
        if bad.any():
            raise DataError(
                f"the {name} network returns NaN or infinity, first for sample "
                f"{self.count + int(bad.nonzero()[0, 0])} of the certification loader (counted "
                "from 0); expected finite outputs. Check its weights and the inputs."
            )

    def arrays(
        self,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64] | None, NDArray[np.float64]]:
        """Top classes of both, labels if there are any, and errors; each (n,)."""
        labelled = sum(len(labels) for labels in self.labels)
        if labelled not in (0, self.count):
            raise DataError(
                f"only {labelled} of the {self.count} certification samples have labels; expected "
                "labels for all of them or for none."
            )
        labels = torch.cat(self.labels).numpy() if self.labels else None
        return (
            torch.cat(self.original).numpy(),
            torch.cat(self.small).numpy(),
            labels,
            torch.cat(self.errors).numpy(),
        )


def _run(name: str, model: nn.Module, inputs: Inputs) -> Tensor:
    """Logits of a batch as float64 on the CPU; computed where the model lives."""
    tensors = [*model.parameters(), *model.buffers()]
    moved = inputs.to(tensors[0].device) if tensors else inputs
    logits = logits_of(moved.call(model), whose=f"the {name} network")
    return logits.detach().cpu().double()


def _relative_errors(
    original: Tensor,  # (N, classes) float64
    small: Tensor,  # (N, classes) float64
) -> Tensor:  # (N,)
    """|small - original| / |original| in the L2 norm; 0 / 0 = 0 and x / 0 = infinity."""
    # scaled by the largest entry first: squares of very large or small outputs stay in range
    scale = torch.maximum(original.abs(), small.abs()).amax(dim=1, keepdim=True)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    gap = torch.linalg.vector_norm(small / scale - original / scale, dim=1)
    size = torch.linalg.vector_norm(original / scale, dim=1)
    return torch.where(gap > 0, gap / size, torch.zeros_like(gap))


def _assumptions(delta: float, used: SampleIds, *, labelled: bool) -> tuple[str, ...]:
    checked = (
        f"none of the {len(used.hashes):,} samples recorded as used was among them, compared by "
        "fingerprint"
        if used.hashes
        else "no record of used samples was given, so this was not checked"
    )
    bounds = 3 if labelled else 2
    return (
        "The certification samples are independent draws from one distribution, and new samples "
        "come from the same one. Nothing is said about samples from elsewhere: a shift of the "
        "distribution, such as another camera, another season or deliberate attacks, is not "
        "covered.",
        "The certification samples were not used to train, calibrate, choose or repair either "
        f"network ({checked}).",
        f"Each bound on its own holds with confidence {100 * (1 - delta):g} %; all {bounds} "
        f"together with at least {max(0.0, 100 * (1 - bounds * delta)):g} %. The share of wrong "
        "certificates is counted over repeated draws of the certification samples.",
        "Both networks are used as they were certified: in evaluation mode, with these weights and "
        "the same preparation of inputs. Other number formats or hardware may round differently.",
    )
