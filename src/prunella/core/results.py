"""What a run found: latency, and everything a report shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from prunella.core.certificates import Certificate
from prunella.core.types import Cost
from prunella.core.walks import Walk


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTimes:
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
class Corrupted:
    """Two networks on images with one kind of corruption.

    Attributes:
        name: What was done to the images; the first row has them as they are.
        disagreement: Share of samples on which the top classes differ.
        original: Accuracy of the original; None without labels.
        small: Accuracy of the small network; None without labels.
    """

    name: str
    disagreement: float
    original: float | None
    small: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Robustness:
    """Two networks on corrupted images: what was observed, without any claim about new samples.

    Attributes:
        samples: Number of images.
        rows: One for each corruption.
    """

    samples: int
    rows: tuple[Corrupted, ...]


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
        reached: Whether the budget was met; None if that is not known.
        walk: Of a search for the smallest network: what was tested; else None.
        robustness: On corrupted images; None if that was not measured.
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
    latency: tuple[RunTimes, ...]
    certificate: Certificate | None
    training: Mapping[str, tuple[float, ...]]
    environment: Mapping[str, str]
    config: str
    files: Mapping[str, str]
    notes: tuple[str, ...]
    reached: bool | None = None
    walk: Walk | None = None
    robustness: Robustness | None = None
