"""What a run found: certificate, latency, and everything a report shows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from prunella.core.types import Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """Upper bounds on how far the small network strays from the original, on new samples.

    Each bound holds with confidence 1 - delta over the draw of the certification samples.

    Attributes:
        alpha: Share of new samples on which `logit_error_bound` may be exceeded.
        delta: Probability, over the draw of the samples, that one given bound is wrong.
        n: Number of certification samples.
        disagreement: Observed share of samples on which the top classes differ.
        disagreement_upper: Upper bound for the probability of that.
        accuracy_drop: Observed accuracy of the original minus that of the small network; None
            without labels.
        accuracy_drop_upper: Upper bound for the expected drop; None without labels.
        logit_error_bound: |small(x) - original(x)| <= bound * |original(x)| in the L2 norm for a
            share of at least 1 - alpha of new samples; None if n is too small for any bound.
        samples_digest: Name of the set of certification samples.
        original_digest: Name of the original model's weights.
        small_digest: Name of the small model's weights.
        assumptions: What must be true for the bounds to hold.
    """

    alpha: float
    delta: float
    n: int
    disagreement: float
    disagreement_upper: float
    accuracy_drop: float | None
    accuracy_drop_upper: float | None
    logit_error_bound: float | None
    samples_digest: str
    original_digest: str
    small_digest: str
    assumptions: tuple[str, ...]

    @property
    def statement(self) -> str:
        """The certificate in plain words."""
        confidence = f"{100 * (1 - self.delta):g} %"
        parts = [
            f"Measured on {self.n:,} samples that were used for nothing else. On new samples drawn "
            f"like them, each of these statements holds with confidence {confidence}:",
            f"the two networks name a different class for at most "
            f"{100 * self.disagreement_upper:.2f} % of samples "
            f"(observed {100 * self.disagreement:.2f} %);",
        ]
        if self.accuracy_drop_upper is not None and self.accuracy_drop is not None:
            parts.append(
                f"the accuracy falls by at most {100 * self.accuracy_drop_upper:.2f} percentage "
                f"points (observed {100 * self.accuracy_drop:+.2f});"
            )
        if self.logit_error_bound is not None:
            parts.append(
                f"for at least {100 * (1 - self.alpha):g} % of samples the outputs differ by at "
                f"most {100 * self.logit_error_bound:.1f} % of the original output's length."
            )
        else:
            parts.append("there are too few samples for a bound on the size of the outputs.")
        return " ".join(parts)

    def to_json(self) -> str:
        """The certificate as JSON text, statement included."""
        data = {"schema_version": 1, **asdict(self), "statement": self.statement}
        return json.dumps(data, indent=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Run times of two networks measured in turn on one device, in seconds per batch.

    Attributes:
        batch: Samples in a batch.
        runs: Timed runs of each network.
        before: (first quartile, median, third quartile) of the original.
        after: The same of the small network.
        speedup: Median over pairs of neighbouring runs of before / after.
    """

    batch: int
    runs: int
    before: tuple[float, float, float]
    after: tuple[float, float, float]
    speedup: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerReport:
    """One group of channels in the report.

    Attributes:
        name: The group.
        kept: For each channel whether it was kept; length = size of the group.
        scores: The score of each channel, or empty where the group was not scored.
        reason: Why nothing may be removed here; "" if the group is prunable.
    """

    name: str
    kept: tuple[bool, ...]
    scores: tuple[float, ...]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracies:
    """Top-1 accuracy at each stage, in [0, 1]; None where it was not measured.

    Attributes:
        samples: Number of samples it was measured on.
    """

    original: float | None = None
    after_cut: float | None = None
    after_repair: float | None = None
    after_retrain: float | None = None
    samples: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything a report shows; plain data, no tensors.

    Attributes:
        title: Headline, for instance "resnet20 on fashion-mnist".
        created: Date and time, ISO 8601.
        command: The command line that makes this run again.
        method: Name of the method.
        requested: The budget in words, for instance "at most 45 % of the parameters".
        before: Cost of the original.
        after: Cost of the small network.
        layers: One for each group.
        accuracy: At each stage.
        latency: One for each batch size; may be empty.
        certificate: None if none was asked for.
        training: Name of the column ("epoch", "loss", "accuracy") to its values over the epochs.
        environment: Versions, device, threads, seed, hashes; shown as a table.
        config: The resolved configuration as YAML text; may be "".
        files: File name to what it holds.
        notes: Sentences the reader should know, for instance what could not be pruned.
    """

    title: str
    created: str
    command: str
    method: str
    requested: str
    before: Cost
    after: Cost
    layers: tuple[LayerReport, ...]
    accuracy: Accuracies
    latency: tuple[Latency, ...]
    certificate: Certificate | None
    training: Mapping[str, tuple[float, ...]]
    environment: Mapping[str, str]
    config: str
    files: Mapping[str, str]
    notes: tuple[str, ...]
