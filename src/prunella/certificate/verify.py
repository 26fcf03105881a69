"""Compute a certificate again from networks and samples, and compare it with its text."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any

from torch import nn

from prunella.certificate.build import certify
from prunella.certificate.choice import certificate_of_choice
from prunella.certificate.layers import Cut
from prunella.certificate.losses import Loss
from prunella.certificate.words import Bounded, assumptions
from prunella.core.certificates import (
    Certificate,
    certificate_data,
    certificate_of,
    content_digest,
    derived,
    digest_problem,
)
from prunella.core.certified import Choice
from prunella.core.errors import InputError
from prunella.core.progress import Progress, silent
from prunella.core.samples import SampleIds
from prunella.core.words import shown

# Counts decide all other numbers, up to the last digits of a bound; these follow from outputs,
# which another batch size or processor rounds differently.
_FROM_OUTPUTS = ("logit_error_bound", "losses", "layers")
_ROUNDING = 1e-4
_LAST_DIGITS = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One place where a certificate is not what was found.

    Attributes:
        field: Its name, for instance "classes[3].disagreement_upper".
        stated: What the certificate has.
        found: What it should have.
    """

    field: str
    stated: object
    found: object

    def __str__(self) -> str:
        return f"{self.field}: the certificate has {shown(self.stated)}, found {shown(self.found)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What a verification found.

    Attributes:
        certificate: What the text states.
        differences: Where it is not what was found; none if it holds as it stands.
        verified: The entries of the text that were compared, in order.
    """

    certificate: Certificate
    differences: tuple[Difference, ...]
    verified: tuple[str, ...]

    @property
    def matches(self) -> bool:
        """Whether nothing differs."""
        return not self.differences


def verify_certificate(
    text: str,
    original: nn.Module,
    small: nn.Module,
    loader: Iterable[object],
    *,
    losses: Mapping[str, Loss] = MappingProxyType({}),
    layers: Cut | None = None,
    used: Sequence[SampleIds] = (),
    progress: Progress = silent,
) -> Verification:
    """Compute a certificate again and compare every entry of its text.

    alpha, delta and what was asked for are taken from the text; all else is computed from the
    networks and the samples. Numbers that follow from counts must agree to nine digits, errors of
    outputs and means of losses to four, since other processors round differently. Smaller changes
    are noticed by the digest over the content, and so is a change of alpha or delta that alters no
    bound. The digest is no signature: it can be computed anew by who changes the text, and then
    such changes pass. The number of used samples is only found to be too small, where `used` has
    more.

    Of a network that was chosen by a search it is computed again that it has passed its own test;
    that the larger ones passed before it is the record of the search. Leave the samples of its plan
    out of `used`, as they count these very samples among the used ones.

    Args:
        text: The certificate as `Certificate.to_json` wrote it, of any schema version.
        original: The network before pruning.
        small: The small network.
        loader: The same samples, in any order; with labels if the certificate bounds accuracy.
        losses: The functions of the losses that the certificate bounds, by name.
        layers: The plan of the small network, if the certificate bounds errors of layers.
        used: As for `certify`.
        progress: Shows how far the loader has been read.

    Raises:
        FileError: the text is no certificate at all, or holds what none can hold.
        InputError: the losses are not those of the certificate, or the plan is missing.
        DataError: see `certify`.
    """
    data = certificate_data(text)
    stated = certificate_of(data)
    _check_losses(stated, losses)
    if stated.layers and layers is None:
        raise InputError(
            "the certificate bounds errors of layers; give the plan of the small network as "
            "`layers`."
        )
    again = partial(
        certify,
        original,
        small,
        loader,
        alpha=stated.alpha,
        per_class=bool(stated.classes),
        top_k=None if stated.top_k is None else stated.top_k.k,
        losses={bound.name: losses[bound.name] for bound in stated.losses},
        layers=layers if stated.layers else None,
        used=used,
        progress=progress,
    )
    choice = stated.choice
    found = again(delta=stated.delta) if choice is None else _chosen(again, stated, choice)
    expected = _with_record(found, stated, data)
    differences = [*_in_text(data, stated), *_compared("", asdict(stated), asdict(expected))]
    return Verification(certificate=stated, differences=tuple(differences), verified=tuple(data))


def _check_losses(stated: Certificate, losses: Mapping[str, Loss]) -> None:
    wanted = [bound.name for bound in stated.losses]
    if set(wanted) != set(losses) or len(set(wanted)) != len(wanted):
        raise InputError(
            f"the certificate bounds the losses {shown(wanted)}, but the functions given are "
            f"{shown(sorted(losses))}; give the function of each, by name."
        )


def _chosen(again: Callable[..., Certificate], stated: Certificate, choice: Choice) -> Certificate:
    """What was found of a network that was chosen on the samples themselves.

    That the candidates before it passed cannot be seen from here; that it passed itself can.
    """
    field = "accuracy_drop_upper" if choice.risk == "accuracy_drop" else "disagreement_upper"
    level, own = getattr(stated, field), getattr(again(delta=stated.delta), field)
    if level is None or own is None or own > level:  # it did not pass, or the risk is not there
        level = own
    found = again(delta=stated.delta / choice.candidates)
    return certificate_of_choice(found, choice, level=level, delta=stated.delta)


def _with_record(found: Certificate, stated: Certificate, data: Mapping[str, Any]) -> Certificate:
    """What was found, with that which only the maker of the certificate knew."""
    if data["schema_version"] == 1:
        found = replace(found, samples_needed=None)
    if stated.choice is not None:
        return replace(found, used_samples=max(stated.used_samples, found.used_samples))
    if stated.used_samples < found.used_samples:
        return found
    texts = assumptions(Bounded.by(found), delta=found.delta, used_samples=stated.used_samples)
    return replace(found, used_samples=stated.used_samples, assumptions=texts)


def _in_text(data: Mapping[str, Any], stated: Certificate) -> Iterator[Difference]:
    """Differences inside of the text: its digest, and words that do not follow from the numbers."""
    if digest_problem(data):
        found = content_digest(data)
        yield Difference(field="digest", stated=data.get("digest"), found=found)
    for name, value in derived(stated).items():
        words = list(value) if isinstance(value, tuple) else value
        if data.get(name) != words and (name in data or data["schema_version"] > 1):
            yield Difference(field=name, stated=data.get(name), found=words)


def _compared(where: str, stated: Any, found: Any) -> Iterator[Difference]:
    """All places where two values of the same form differ."""
    if isinstance(stated, dict) and isinstance(found, dict):
        for name in found:
            yield from _compared(f"{where}.{name}" if where else name, stated[name], found[name])
    elif isinstance(stated, tuple) and isinstance(found, tuple) and len(stated) == len(found):
        for place, pair in enumerate(zip(stated, found, strict=True)):
            yield from _compared(f"{where}[{place}]", *pair)
    elif not _same(where, stated, found):
        yield Difference(field=where, stated=stated, found=found)


def _same(where: str, stated: object, found: object) -> bool:
    if isinstance(found, float) and isinstance(stated, (int, float)):
        close = _ROUNDING if where.startswith(_FROM_OUTPUTS) else _LAST_DIGITS
        return math.isclose(stated, found, rel_tol=close, abs_tol=close / 100)
    return type(stated) is type(found) and stated == found
