"""What a run found: certificate, latency, and everything a report shows."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeGuard

from prunella.core.errors import FileError
from prunella.core.jsontext import NewerVersionError, Upgrade, read_json, upgraded
from prunella.core.types import Cost
from prunella.core.walks import Walk
from prunella.core.words import shown


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
            share of at least 1 - alpha of new samples; None if n is too small for any bound,
            infinity if the original's output is zero too often for a relative one.
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
        """The certificate in plain words; bounds are rounded up."""
        parts = [
            f"Measured on {self.n:,} samples that were set aside for this. On new samples drawn "
            "like them, each of the following statements holds with confidence "
            f"{100 * (1 - self.delta):g} %:",
            f"the two networks name a different class for at most "
            f"{percent_up(self.disagreement_upper)} % of samples "
            f"(observed {100 * self.disagreement:.2f} %);",
        ]
        if self.accuracy_drop_upper is not None and self.accuracy_drop is not None:
            parts.append(_drop_words(self.accuracy_drop, self.accuracy_drop_upper))
        most = f"for at least {100 * (1 - self.alpha):g} % of samples"
        if self.logit_error_bound is None:
            parts.append("there are too few samples to bound how far the outputs differ.")
        elif math.isinf(self.logit_error_bound):
            parts.append("no finite relative bound on the outputs exists, because the original's")
            parts.append("outputs are all zero too often.")
        else:
            parts.append(
                f"{most} the outputs differ by at most {percent_up(self.logit_error_bound)} % of "
                "the length of the original's output."
            )
        parts.append("Samples that are not drawn like them are not covered.")
        return " ".join(parts)

    def to_json(self) -> str:
        """The certificate as JSON text, statement included; an infinite bound is "infinity"."""
        data = {"schema_version": _SCHEMA_VERSION, **asdict(self), "statement": self.statement}
        if self.logit_error_bound is not None and math.isinf(self.logit_error_bound):
            data["logit_error_bound"] = "infinity"  # JSON has no number for it
        return json.dumps(data, indent=2, allow_nan=False)

    @staticmethod
    def from_json(text: str) -> Certificate:
        """The inverse of `to_json`; fields this version does not know are ignored.

        Raises:
            FileError: the text is no certificate, is damaged, or has an unknown schema version.
        """
        try:
            data = read_json(text)
        except ValueError as error:
            raise FileError(
                f"the certificate is not JSON ({error}); expected the text that "
                "Certificate.to_json wrote. The file is damaged or something else."
            ) from None
        try:
            data = upgraded(data, newest=_SCHEMA_VERSION, steps=_UPGRADES, what="the certificate")
        except NewerVersionError as error:
            raise FileError(str(error)) from None
        except ValueError as error:
            raise FileError(
                f"{error}; expected the text that Certificate.to_json wrote. The file is damaged "
                "or something else."
            ) from None
        certificate = Certificate(**{name: _read_field(data, name) for name in _FIELDS})
        check_certificate(certificate)
        return certificate


def check_certificate(certificate: Certificate) -> None:
    """Raise FileError, naming the field, if it holds what no certificate can hold."""
    for name, accepts in _FIELDS.items():
        value = getattr(certificate, name)
        if not accepts(value):
            raise FileError(
                f"the certificate's {name} is {shown(value)}, which no certificate can hold. The "
                "file is damaged; make the certificate again."
            )
    if certificate.disagreement > certificate.disagreement_upper:
        raise FileError(
            f"the certificate's disagreement is {certificate.disagreement}, above its own upper "
            f"bound {certificate.disagreement_upper}. The file is damaged; make the certificate "
            "again."
        )
    if (certificate.accuracy_drop is None) != (certificate.accuracy_drop_upper is None):
        raise FileError(
            "the certificate has only one of accuracy_drop and accuracy_drop_upper; expected both "
            "or neither. The file is damaged; make the certificate again."
        )


_SCHEMA_VERSION = 1
# Makes a certificate of version v + 1 out of one of version v, both as plain data. When the schema
# changes, the old version gets an entry here, and tests/golden keeps a file of it.
_UPGRADES: Mapping[int, Upgrade] = {}


def _drop_words(observed: float, upper: float) -> str:
    seen = f"(observed {'a fall' if observed >= 0 else 'a rise'} of {100 * abs(observed):.2f})"
    if upper < 0:  # the smallest certain rise, rounded down
        return (
            f"the accuracy rises by at least {math.floor(-upper * 1e4) / 100:.2f} percentage "
            f"points {seen};"
        )
    return f"the accuracy falls by at most {percent_up(upper)} percentage points {seen};"


_MOST_PERCENT = 1e12


def percent_up(bound: float) -> str:
    """A bound in percent, rounded up at two decimals so that the words are never too strong."""
    if bound > _MOST_PERCENT:  # an output of nearly zero; the digits would mean nothing
        return f"10^{math.floor(math.log10(bound)) + 3}"
    # the small allowance keeps 0.03 from becoming 3.01 by binary rounding alone
    return f"{math.ceil(bound * 1e4 - 1e-7) / 100:,.2f}"


def _is_number(value: object) -> TypeGuard[float]:
    # a comparison, because math.isfinite fails on integers beyond the range of floats
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < math.inf


def _is_share(value: object) -> bool:
    return _is_number(value) and 0 <= value <= 1


def _is_level(value: object) -> bool:
    return _is_share(value) and value not in (0, 1)


def _is_difference(value: object) -> bool:
    return value is None or (_is_number(value) and -1 <= value <= 1)


def _is_size(value: object) -> bool:
    return value is None or value == math.inf or (_is_number(value) and value >= 0)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _is_texts(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(text, str) for text in value)


_FIELDS: dict[str, Callable[[object], bool]] = {
    "alpha": _is_level,
    "delta": _is_level,
    "n": _is_count,
    "disagreement": _is_share,
    "disagreement_upper": _is_share,
    "accuracy_drop": _is_difference,
    "accuracy_drop_upper": _is_difference,
    "logit_error_bound": _is_size,
    "samples_digest": _is_digest,
    "original_digest": _is_digest,
    "small_digest": _is_digest,
    "assumptions": _is_texts,
}


def _read_field(data: dict[str, Any], name: str) -> Any:
    """One field of a certificate as it came from JSON."""
    if name not in data:
        raise FileError(
            f"the certificate has no {name!r}; expected all of {', '.join(_FIELDS)}. The file is "
            "damaged; make the certificate again."
        )
    value = data[name]
    if name == "logit_error_bound" and value == "infinity":
        return math.inf
    return tuple(value) if isinstance(value, list) else value


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
