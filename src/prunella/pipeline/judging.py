"""How often a candidate and the original answer differently, and what follows for new samples."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn

from prunella.bounds import clopper_pearson_upper, paired_difference_upper
from prunella.core.batches import Batch, check_labels, read_batch
from prunella.core.errors import DataError
from prunella.core.modes import evaluating
from prunella.core.outputs import class_scores
from prunella.core.walks import Risk


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What two networks answered.

    Attributes:
        n: Number of samples.
        plus: For the drop of accuracy, samples that only the original gets right; for disagreement,
            samples on which the networks differ.
        minus: Samples that only the small network gets right; 0 for disagreement.
    """

    n: int
    plus: int
    minus: int = 0

    @property
    def observed(self) -> float:
        """The risk on these samples."""
        return (self.plus - self.minus) / self.n

    def at_most(self, n: int) -> Answers:
        """What as many as n samples would have shown, rounded against the small network."""
        if n >= self.n:
            return self
        return Answers(n=n, plus=-(-self.plus * n // self.n), minus=self.minus * n // self.n)

    def upper(self, risk: Risk, delta: float) -> float:
        """Upper bound for the risk on new samples, with confidence 1 - delta."""
        if risk == "disagreement":
            return clopper_pearson_upper(self.plus, self.n, delta)
        return paired_difference_upper(self.plus, self.minus, self.n, delta)


def worse_and_better(
    risk: Risk,
    before: Tensor,  # (N,) top classes of the original
    after: Tensor,  # (N,) top classes of the small network
    labels: Tensor | None,  # (N,)
) -> tuple[Tensor, Tensor]:  # (N,) bool each
    """The samples that count against the small network, and those that count for it.

    Raises:
        DataError: the risk is the drop of accuracy, and there are no labels.
    """
    if risk == "disagreement":
        return before != after, torch.zeros_like(before, dtype=torch.bool)
    if labels is None:
        raise DataError(
            "the drop of accuracy needs labels: the loader must yield (inputs, labels). "
            "Without labels choose the risk 'disagreement'."
        )
    right, small_right = before == labels.cpu(), after == labels.cpu()
    return right & ~small_right, small_right & ~right


def samples_to_pass(risk: Risk, alpha: float, delta: float) -> int:
    """Fewest samples with which networks that never differ have a bound of at most alpha."""

    def enough(n: int) -> bool:
        return Answers(n=n, plus=0).upper(risk, delta) <= alpha

    high = 2
    while not enough(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def require_samples(count: int, risk: Risk, alpha: float, delta: float) -> None:
    """Raise DataError where there are too few certification samples for any candidate to pass."""
    needed = samples_to_pass(risk, alpha, delta)
    if count < needed:
        raise DataError(
            f"{count:,} certification samples cannot show a {_NAMES[risk]} of at most "
            f"{100 * alpha:g} % with {100 * (1 - delta):g} % confidence, even for networks that "
            f"never differ: that takes at least {needed:,}, and more if they differ at times. "
            "Give more samples, tolerate more, or ask for less confidence."
        )


_NAMES = {"accuracy_drop": "drop of accuracy", "disagreement": "share of other answers"}


@final
class Judge:
    """Runs candidates beside the original on one set of samples.

    What the original answers is kept, so that it runs once, as long as the loader yields the same
    batches again; a batch that comes in another order is run anew.
    """

    def __init__(self, original: nn.Module, loader: Iterable[object], risk: Risk) -> None:
        self.original = original
        self.loader = loader
        self.risk = risk
        self._known: dict[bytes, Tensor] = {}

    def __call__(self, small: nn.Module) -> Answers:
        """Compare a network with the original; both are left as they were.

        Raises:
            DataError: there are no samples or no labels, or an output is not finite.
            InputError: a network returns no class scores.
        """
        n = plus = minus = 0
        with evaluating(self.original), evaluating(small), torch.random.fork_rng():
            for item in self.loader:
                batch = read_batch(item)
                if not len(batch):
                    continue
                before = self._original(batch)
                after = _classes("small", small, batch)
                worse, better = worse_and_better(self.risk, before, after, batch.labels)
                n, plus, minus = n + len(batch), plus + int(worse.sum()), minus + int(better.sum())
        if not n:
            raise DataError("the loader is empty; expected at least one sample.")
        return Answers(n=n, plus=plus, minus=minus)

    def _original(self, batch: Batch) -> Tensor:  # (N,)
        key = _digest(batch.inputs.tensors)
        if key not in self._known:
            self._known[key] = _classes("original", self.original, batch)
        return self._known[key]


def _classes(name: str, model: nn.Module, batch: Batch) -> Tensor:  # (N,)
    """Top classes of a batch, on the CPU."""
    first = next(model.parameters(), None)
    inputs = batch.inputs if first is None else batch.inputs.to(first.device)
    scores = class_scores(inputs.call(model), len(batch), whose=f"the {name} network")
    if not bool(torch.isfinite(scores).all()):
        raise DataError(
            f"the {name} network returns NaN or infinity; expected finite outputs. Check its "
            "weights and the inputs."
        )
    if batch.labels is not None:
        check_labels(batch.labels, scores.shape[1])
    return scores.argmax(1).cpu()


def _digest(tensors: list[Tensor]) -> bytes:
    """A name for a batch: samples and their order."""
    digest = hashlib.blake2b(digest_size=16)
    for tensor in tensors:
        plain = tensor.detach().cpu().contiguous()
        digest.update(f"{plain.dtype}{tuple(plain.shape)}".encode())
        digest.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.digest()
