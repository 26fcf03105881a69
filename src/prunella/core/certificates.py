"""Certificates: what they state, and their JSON."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from prunella.core import certificate_words, certified
from prunella.core.certified import Choice, ClassBound, LayerBound, LossBound, TopKBound
from prunella.core.errors import FileError
from prunella.core.jsontext import NewerVersionError, Upgrade, read_json, upgraded
from prunella.core.words import shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """Upper bounds on how far the small network strays from the original, on new samples.

    Each bound holds with confidence 1 - delta over the draw of the certification samples; those of
    all classes, and those of all layers, do so together.

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
        samples_needed: Samples that `logit_error_bound` takes at least; None if that was not
            written down.
        used_samples: Samples recorded as used before, none of which was among those for the
            certificate; 0 if there was no record.
        classes: Disagreement by the original's class, if it was asked for.
        top_k: The same for the k best classes, if it was asked for.
        losses: Losses of the user's own, if there were any.
        layers: Errors of the layers that read cut channels, if they were asked for.
        choice: How the network was chosen on these very samples; None if it was not.
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
    samples_needed: int | None = None
    used_samples: int = 0
    classes: tuple[ClassBound, ...] = ()
    top_k: TopKBound | None = None
    losses: tuple[LossBound, ...] = ()
    layers: tuple[LayerBound, ...] = ()
    choice: Choice | None = None

    @property
    def statement(self) -> str:
        """The certificate in plain words; bounds are rounded up."""
        return certificate_words.statement(self)

    @property
    def not_covered(self) -> tuple[str, ...]:
        """What the certificate does not say, in plain words."""
        return certificate_words.not_covered(self)

    def to_json(self) -> str:
        """The certificate as JSON text; an infinite bound is "infinity".

        The text also holds the statement, what is not covered, and a digest over all the rest.
        """
        data = {"schema_version": SCHEMA_VERSION, **asdict(self), **derived(self)}
        data = _finite(data)
        return json.dumps({**data, "digest": content_digest(data)}, indent=2, allow_nan=False)

    @staticmethod
    def from_json(text: str) -> Certificate:
        """The inverse of `to_json`; entries this version does not know are ignored.

        Raises:
            FileError: the text is no certificate, is damaged, was changed after it was written, or
                has an unknown schema version.
        """
        data = certificate_data(text)
        certificate = certificate_of(data)
        problem = digest_problem(data)
        if problem:
            raise FileError(f"{problem} Make the certificate again, or restore it from a copy.")
        return certificate


def certificate_data(text: str) -> dict[str, Any]:
    """The entries of a certificate's text as they are there, of any known schema version.

    Raises:
        FileError: it is not JSON, or its schema version is missing or unknown.
    """
    advice = (
        "expected the text that Certificate.to_json wrote. The file is damaged or something else."
    )
    try:
        data = read_json(text)
    except ValueError as error:
        raise FileError(f"the certificate is not JSON ({error}); {advice}") from None
    try:
        upgraded(data, newest=SCHEMA_VERSION, steps=_UPGRADES, what="the certificate")
    except NewerVersionError as error:
        raise FileError(str(error)) from None
    except ValueError as error:
        raise FileError(f"{error}; {advice}") from None
    found: dict[str, Any] = data
    return found


def certificate_of(data: dict[str, Any]) -> Certificate:
    """The certificate in the entries of a text; whether they fit their digest is not looked at.

    Raises:
        FileError: an entry is missing, or no certificate can hold it.
    """
    newest = upgraded(data, newest=SCHEMA_VERSION, steps=_UPGRADES, what="the certificate")
    certificate = Certificate(**{name: _read_field(newest, name) for name in _FIELDS})
    check_certificate(certificate)
    return certificate


def derived(certificate: Certificate) -> dict[str, Any]:
    """The entries of the JSON text that follow from the others."""
    return {"statement": certificate.statement, "not_covered": certificate.not_covered}


def content_digest(data: Mapping[str, Any]) -> str:
    """32 hexadecimal digits over all entries but "digest", whatever their order and spacing.

    It shows that entries were changed by accident or without care. It is no signature: who changes
    an entry on purpose can compute it anew.
    """
    content = {name: value for name, value in data.items() if name != "digest"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def digest_problem(data: Mapping[str, Any]) -> str:
    """In what way the entries of a text do not fit their digest; "" if they do.

    The first schema version had no digest.
    """
    stated, content = data.get("digest"), content_digest(data)
    if stated == content or ("digest" not in data and data["schema_version"] == 1):
        return ""
    return (
        f"the certificate's digest is {shown(stated)}, but its content has {content}: something in "
        "it was changed after it was written."
    )


def check_certificate(certificate: Certificate) -> None:
    """Raise FileError, naming the field, if it holds what no certificate can hold."""
    again = "The file is damaged; make the certificate again."
    for name, accepts in _FIELDS.items():
        value = getattr(certificate, name)
        if not accepts(value):
            raise FileError(
                f"the certificate's {name} is {shown(value)}, which no certificate can hold. "
                f"{again}"
            )
    if certificate.disagreement > certificate.disagreement_upper:
        raise FileError(
            f"the certificate's disagreement is {certificate.disagreement}, above its own upper "
            f"bound {certificate.disagreement_upper}. {again}"
        )
    if (certificate.accuracy_drop is None) != (certificate.accuracy_drop_upper is None):
        raise FileError(
            "the certificate has only one of accuracy_drop and accuracy_drop_upper; expected both "
            f"or neither. {again}"
        )


SCHEMA_VERSION = 2


def _from_version_1(data: dict[str, Any]) -> dict[str, Any]:
    """The first version wrote the number of used samples into the assumptions alone."""
    texts = data.get("assumptions")
    found = re.search(r"none of the ([\d,]{1,30}) samples recorded", str(texts))
    used = int(found[1].replace(",", "") or 0) if found else 0
    nothing: dict[str, Any] = {"samples_needed": None, "top_k": None, "choice": None}
    return {**data, **nothing, "used_samples": used, "classes": [], "losses": [], "layers": []}


# Makes a certificate of version v + 1 out of one of version v, both as plain data. When the schema
# changes, the old version gets an entry here, and tests/golden keeps a file of it.
_UPGRADES: Mapping[int, Upgrade] = {1: _from_version_1}

_INFINITY = "infinity"  # JSON has no number for it


def _finite(value: Any) -> Any:
    if value == math.inf:
        return _INFINITY
    if isinstance(value, dict):
        return {name: _finite(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry) for entry in value]
    return value


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _tuple_of(accepts: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: isinstance(value, tuple) and all(map(accepts, value))


_FIELDS: dict[str, Callable[[object], bool]] = {
    "alpha": certified.is_level,
    "delta": certified.is_level,
    "n": lambda value: certified.is_whole(value, low=1),
    "disagreement": certified.is_share,
    "disagreement_upper": certified.is_share,
    "accuracy_drop": certified.is_difference,
    "accuracy_drop_upper": certified.is_difference,
    "logit_error_bound": certified.is_size,
    "samples_digest": _is_digest,
    "original_digest": _is_digest,
    "small_digest": _is_digest,
    "assumptions": _tuple_of(lambda value: isinstance(value, str)),
    "samples_needed": lambda value: value is None or certified.is_whole(value, low=1),
    "used_samples": certified.is_whole,
    "classes": _tuple_of(certified.is_class_bound),
    "top_k": certified.is_top_k_bound,
    "losses": _tuple_of(certified.is_loss_bound),
    "layers": _tuple_of(certified.is_layer_bound),
    "choice": certified.is_choice,
}
_Part = ClassBound | TopKBound | LossBound | LayerBound | Choice
_PARTS: dict[str, type[_Part]] = {
    "classes": ClassBound,
    "top_k": TopKBound,
    "losses": LossBound,
    "layers": LayerBound,
    "choice": Choice,
}


def _read_field(data: dict[str, Any], name: str) -> Any:
    """One field of a certificate as it came from JSON."""
    if name not in data:
        raise FileError(
            f"the certificate has no {name!r}; expected all of {', '.join(_FIELDS)}. The file is "
            "damaged; make the certificate again."
        )
    value = data[name]
    if name == "logit_error_bound" and value == _INFINITY:
        return math.inf
    if name in ("top_k", "choice"):
        return _read_part(value, name)
    if isinstance(value, list):
        return tuple(_read_part(entry, name) if name in _PARTS else entry for entry in value)
    return value


def _read_part(value: Any, name: str) -> Any:
    """A part of a certificate; what does not look like one is left for the check to refuse."""
    kind = _PARTS[name]
    known = {field.name for field in fields(kind)}
    if not isinstance(value, dict) or not known <= value.keys():
        return value
    entries = {key: value[key] for key in known}
    if entries.get("error_bound") == _INFINITY:
        entries["error_bound"] = math.inf
    return kind(**entries)
