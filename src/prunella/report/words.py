"""What a report says in sentences, derived from the data alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from prunella.core.certificates import Certificate
from prunella.core.results import Accuracies, LayerReport, Report, RunTimes
from prunella.report import units
from prunella.report.claims import Claim, further_claims, observed_loss
from prunella.report.units import SPACE

# Differences in speed below this are noise on most machines and are not called a change.
_SPEED_NOISE = 0.03

_STAGES = (
    ("original", "Original"),
    ("after_cut", "After the cut"),
    ("after_repair", "After repair"),
    ("after_retrain", "After retraining"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One of the big numbers at the top.

    Attributes:
        label: What it is.
        value: The big number.
        origin: Where it comes from.
        change: What that means, in a few words.
        tone: "good", "bad" or "plain".
        fraction: After / before for a small bar; None for no bar.
    """

    label: str
    value: str
    origin: str
    change: str
    tone: str = "plain"
    fraction: float | None = None


def stages(accuracy: Accuracies) -> tuple[tuple[str, float], ...]:
    """The measured stages in order, as (name, accuracy)."""
    values = ((name, getattr(accuracy, field)) for field, name in _STAGES)
    return tuple((name, value) for name, value in values if value is not None)


def final_accuracy(accuracy: Accuracies) -> float | None:
    """Accuracy of the small network after the last stage that was measured."""
    for value in (accuracy.after_retrain, accuracy.after_repair, accuracy.after_cut):
        if value is not None:
            return value
    return None


def main_latency(latency: Sequence[RunTimes]) -> RunTimes | None:
    """The measurement that the headline names: the largest batch."""
    return max(latency, key=lambda item: item.batch, default=None)


def listed(parts: Sequence[str]) -> str:
    """Join as "a", "a and b", "a, b and c"."""
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def when(created: str) -> str:
    """A date to the minute, or the text as it is where it is no date."""
    try:
        moment = datetime.fromisoformat(created.removesuffix("Z"))
    except ValueError:
        return created
    zone = " UTC" if created.endswith("Z") else f" {moment:%Z}"
    return f"{moment:%Y-%m-%d %H:%M}{zone.rstrip()}"


def number_of(number: int, noun: str) -> str:
    """Number and noun, with a plural "s" where needed."""
    return f"{units.exact(number)} {noun}{'' if number == 1 else 's'}"


def headline(report: Report) -> str:
    """The outcome in one sentence."""
    params, macs, _ = report.after.fraction_of(report.before)
    clauses = [
        f"{'keeps' if max(params, macs) <= 1 else 'now has'} {units.share(params)} of its "
        f"parameters and {units.share(macs)} of its multiply-adds"
    ]
    if (latency := main_latency(report.latency)) is not None:
        clauses.append(_speed_clause(latency))
    if accuracy := _accuracy_clause(report.accuracy):
        clauses.append(accuracy)
    if len(clauses) == 1:
        return f"The network {clauses[0]}."
    return f"The network {', '.join(clauses[:-1])}, and {clauses[-1]}."


def _speed_clause(latency: RunTimes) -> str:
    where = f"at batch{SPACE}{latency.batch} on this machine"
    if latency.speedup >= 1 + _SPEED_NOISE:
        return f"runs {latency.speedup:.2f} times as fast {where}"
    if is_slower(latency):
        return f"runs slower {where} ({_times_the_time(latency)})"
    return f"runs about as fast as before {where} ({units.times(latency.speedup)})"


def is_slower(latency: RunTimes) -> bool:
    """Whether the small network takes longer, by more than noise."""
    return latency.speedup <= 1 - _SPEED_NOISE


def _times_the_time(latency: RunTimes) -> str:
    if latency.speedup <= 0:
        return "the measured speed-up is not positive"
    return f"it needs {1 / latency.speedup:.2f} times the time"


def _accuracy_clause(accuracy: Accuracies) -> str:
    final = final_accuracy(accuracy)
    if final is None:
        return ""
    measured = f"measured on {number_of(accuracy.samples, 'sample')}" if accuracy.samples else ""
    if accuracy.original is None:
        return f"names the right class for {units.share(final)} of samples" + (
            f" ({measured})" if measured else ""
        )
    span = f"{units.share(accuracy.original)} → {units.share(final)}"
    detail = f" ({', '.join(filter(None, (span, measured)))})"
    drop = accuracy.original - final
    if drop == 0:
        return f"keeps its accuracy{detail}"
    return f"{'loses' if drop > 0 else 'gains'} {units.points(drop)} points of accuracy{detail}"


def setbacks(report: Report) -> tuple[str, ...]:
    """What did not come out as hoped, one sentence each."""
    found = []
    kept = report.after.fraction_of(report.before)
    parts = tuple(zip(("parameters", "multiply-adds", "bytes"), kept, strict=True))
    if report.walk is not None and report.reached is False:
        found.append(f"No small network passed. Asked for: {report.requested}.")
    elif report.reached is False:
        reached = listed([f"{units.share(value, 2)} of the {name}" for name, value in parts])
        found.append(f"The budget was missed. Asked for: {report.requested}. Reached: {reached}.")
    found += [
        f"The network has more {name} than before: {units.share(value)} of the original."
        for name, value in parts
        if value > 1
    ]
    found += [
        f"At batch{SPACE}{item.batch} the network is slower than the original on this machine: "
        f"{_times_the_time(item)}."
        for item in report.latency
        if is_slower(item)
    ]
    found += _lost_on_the_way(report.accuracy)
    return tuple(found)


def _lost_on_the_way(accuracy: Accuracies) -> list[str]:
    """Stages that are meant to help and did not."""
    steps = (
        ("The repair", accuracy.after_cut, accuracy.after_repair),
        (
            "Retraining",
            accuracy.after_cut if accuracy.after_repair is None else accuracy.after_repair,
            accuracy.after_retrain,
        ),
    )
    return [
        f"{name} made the accuracy worse, by {units.points(start - end)} points."
        for name, start, end in steps
        if start is not None and end is not None and end < start
    ]


def cards(report: Report) -> tuple[Card, ...]:
    """Parameters, multiply-adds, accuracy and speed, as far as they are known."""
    params, macs, _ = report.after.fraction_of(report.before)
    found = [
        _cost_card("Parameters", report.before.params, report.after.params, params),
        _cost_card("Multiply-adds", report.before.macs, report.after.macs, macs),
    ]
    final, original = final_accuracy(report.accuracy), report.accuracy.original
    if final is not None and original is not None:
        found.append(
            Card(
                label="Accuracy",
                value=units.share(final),
                origin=f"from {units.share(original)}",
                change=f"{units.signed_points(final - original)} points",
                tone="good" if final >= original else "plain",
            )
        )
    if (latency := main_latency(report.latency)) is not None:
        faster = latency.speedup >= 1 + _SPEED_NOISE
        label = "faster" if faster else "slower" if is_slower(latency) else "no change"
        found.append(
            Card(
                label=f"Speed, batch{SPACE}{latency.batch}",
                value=units.times(latency.speedup),
                origin=f"from {units.seconds(latency.before[1])}",
                change=f"now {units.seconds(latency.after[1])}, {label}",
                tone="bad" if is_slower(latency) else "good" if faster else "plain",
            )
        )
    return tuple(found)


def _cost_card(label: str, before: int, after: int, fraction: float) -> Card:
    return Card(
        label=label,
        value=units.count(after),
        origin=f"from {units.count(before)}",
        change=f"{units.share(fraction)} kept"
        if fraction <= 1
        else f"grew to {units.share(fraction)}",
        tone="bad" if fraction > 1 else "plain",
        fraction=min(fraction, 1.0),
    )


def confidence(certificate: Certificate) -> str:
    """The confidence of one bound."""
    return f"{100 * (1 - certificate.delta):g}{SPACE}%"


def answer(certificate: Certificate) -> str:
    """The certificate in one short sentence."""
    drop = certificate.accuracy_drop_upper
    if drop is None:
        cost = (
            f"At most {units.percent_up(certificate.disagreement_upper)}{SPACE}% of new samples "
            "get another class than before"
        )
    elif drop >= 0:
        cost = f"At most {units.percent_up(drop)} percentage points of accuracy"
    else:
        gain = units.percent_up(drop).removeprefix(units.MINUS)
        cost = f"No accuracy: it rises by at least {gain} percentage points"
    return f"{cost}, with {confidence(certificate)} confidence."


def claims(certificate: Certificate) -> tuple[Claim, ...]:
    """The bounds of a certificate, the most telling first; bounds are rounded up."""
    found = []
    if certificate.accuracy_drop_upper is not None:
        observed = certificate.accuracy_drop
        found.append(
            Claim(
                label="Loss of accuracy",
                bound=f"{units.percent_up(certificate.accuracy_drop_upper)}{SPACE}points",
                meaning="On new samples the accuracy falls by no more than this."
                + (" (Below zero: it rises.)" if certificate.accuracy_drop_upper < 0 else ""),
                observed="" if observed is None else observed_loss(observed),
            )
        )
    found.append(
        Claim(
            label="Another answer",
            bound=f"{units.percent_up(certificate.disagreement_upper)}{SPACE}%",
            meaning="The two networks name a different class for no more than this share of new "
            "samples.",
            observed=units.share(certificate.disagreement, 2),
        )
    )
    if _bounds_outputs(certificate):
        found.append(
            Claim(
                label="Change of the outputs",
                bound=f"{units.percent_up(certificate.logit_error_bound or 0.0)}{SPACE}%",
                meaning=f"For at least {100 * (1 - certificate.alpha):g}{SPACE}% of new samples "
                "the outputs move by no more than this share of their length.",
                observed="",
            )
        )
    found += further_claims(certificate)
    return tuple(found)


def _bounds_outputs(certificate: Certificate) -> bool:
    bound = certificate.logit_error_bound
    return bound is not None and math.isfinite(bound)


def confidence_in_words(certificate: Certificate) -> str:
    """What the confidence means, for one bound and for all of them."""
    number = len(claims(certificate))
    together = max(0.0, 1 - number * certificate.delta)
    once = f"{1 / certificate.delta:,.0f}" if certificate.delta > 0 else "∞"
    text = (
        f"Each bound holds with {confidence(certificate)} confidence: of {once} certifications "
        "with fresh samples, about one or fewer would state a bound that is wrong."
    )
    if number > 1:
        text += f" All {number} hold at once with at least {100 * together:g}{SPACE}% confidence."
    return text


def not_covered(certificate: Certificate) -> tuple[str, ...]:
    """What a reader might wrongly take the certificate to say."""
    return certificate.not_covered


def channels(layers: Sequence[LayerReport]) -> str:
    """How many channels went, in one sentence."""
    open_layers = [layer for layer in layers if not layer.reason]
    frozen = len(layers) - len(open_layers)
    total = sum(len(layer.kept) for layer in open_layers)
    kept = sum(sum(layer.kept) for layer in open_layers)
    touched = sum(not all(layer.kept) for layer in open_layers)
    text = (
        f"{units.exact(total - kept)} of {number_of(total, 'channel')} were removed, in {touched} "
        f"of {number_of(len(open_layers), 'group')} that may be pruned."
    )
    if frozen:
        text += f" {number_of(frozen, 'more group')} had to stay whole."
    return text
