"""What is changed, and random changes to it, as damage and malice make them."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Callable
from typing import Any

from prunella.core.certificates import Certificate, content_digest
from prunella.core.certified import ClassBound, LayerBound, LossBound, TopKBound
from prunella.core.results import Accuracies, LayerReport, Report, RunTimes
from prunella.core.types import Cost

CERTIFICATE = Certificate(
    alpha=0.05,
    delta=0.01,
    n=2000,
    disagreement=0.01,
    disagreement_upper=0.02,
    accuracy_drop=0.001,
    accuracy_drop_upper=0.01,
    logit_error_bound=0.25,
    samples_digest="0123456789abcdef",
    original_digest="0123456789abcdef",
    small_digest="fedcba9876543210",
    assumptions=("The samples are drawn independently.",),
    samples_needed=90,
    used_samples=300,
    classes=(ClassBound(index=3, n=20, disagreement=0.05, disagreement_upper=0.25),),
    top_k=TopKBound(
        k=5, accuracy_drop=None, accuracy_drop_upper=None, missed=0.01, missed_upper=0.02
    ),
    losses=(LossBound(name="cost", mean=0.1, mean_upper=0.2, increase=-0.1, increase_upper=0.0),),
    layers=(LayerBound(name="fc", error_bound=float("inf"), samples_needed=90),),
)
REPORT = Report(
    title="net on images",
    created="2026-05-12T14:03:27+00:00",
    command="prunella prune",
    method="pfp",
    requested="at most 40 % of the parameters",
    before=Cost(params=1000, macs=20_000, bytes=4000),
    after=Cost(params=400, macs=8000, bytes=1600),
    layers=(
        LayerReport(name="first", kept=(True, False, True), scores=(0.5, 0.1, 0.25), reason=""),
        LayerReport(name="last", kept=(True, True), scores=(), reason="is an output"),
    ),
    accuracy=Accuracies(original=0.9, after_cut=0.5, samples=100),
    latency=(
        RunTimes(batch=1, runs=9, before=(0.1, 0.2, 0.3), after=(0.05, 0.1, 0.2), speedup=2.0),
    ),
    certificate=CERTIFICATE,
    training={"epoch": (1.0, 2.0), "loss": (0.5, float("inf"))},
    environment={"seed": "0"},
    config="network: resnet20",
    files={"pruned.safetensors": "the small network"},
    notes=("A note.",),
    reached=True,
)

NUMBERS = (
    0, 1, -1, 2, 3, 7, 127, 255, 2**31 - 1, 2**31, 2**32, 2**53, 10**6, 10**9, 10**12, 10**15,
    2**63 - 1, 2**63, 2**64, -(2**63), 10**30, 10**50, 0.5, -0.0, 1e-320, 1e308,
)  # fmt: skip
WORDS = (
    "", "x", "../../x", "/dev/zero", "__class__.__init__.__globals__", "weight.data", "forward",
    "training", "load", "Generator", "float32", "int64", "\x00", "\x1b[2J", "a\nb", "\ud800",
    "=" * 5000, "{{7*7}}", "</script>", "nan", "inf", "-inf", "infinity",
)  # fmt: skip
# Not JSON values of their own, but what some writers put in the place of one.
TOKENS = ("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 5000, "[" * 3000, "{}")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|\w+|[\[\]{},:]')


def mutated_bytes(data: bytes, random: random.Random) -> bytes:
    """Flip, remove, insert or repeat some bytes, or cut the end off."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 8))):
        if not changed:
            break
        place = random.randrange(len(changed))
        kind = random.randrange(5)
        if kind == 0:
            changed[place] ^= 1 << random.randrange(8)
        elif kind == 1:
            changed[place] = random.randrange(256)
        elif kind == 2:
            del changed[place : place + random.choice((1, 1, 4, 64))]
        elif kind == 3:
            changed[place:place] = random.randbytes(random.choice((1, 2, 8)))
        else:
            changed[place:place] = changed[place : place + random.choice((1, 16, 256))]
    if random.random() < 0.1:
        del changed[random.randrange(len(changed) + 1) :]
    return bytes(changed)


def mutated_text(text: str, random: random.Random) -> str:
    """Exchange, replace, remove or repeat tokens of a JSON or YAML text."""
    tokens = list(_TOKEN.finditer(text))
    if not tokens:
        return text
    one, other = sorted(random.choices(tokens, k=2), key=lambda match: match.start())
    kind = random.randrange(5)
    if kind == 0 and one.end() <= other.start():
        middle = text[one.end() : other.start()]
        return text[: one.start()] + other[0] + middle + one[0] + text[other.end() :]
    if kind == 1:
        return text[: one.start()] + text[one.end() :]
    if kind == 2:
        return text[: one.end()] + one[0] + text[one.end() :]
    if kind == 3:
        return text[: one.start()] + text[other.start() :]
    return text[: one.start()] + random.choice(TOKENS) + text[one.end() :]


def mutated_value(value: Any, random: random.Random) -> Any:
    """A copy of plain data with one value replaced, removed, repeated or exchanged."""
    changed = copy.deepcopy(value)
    places = list(_places(changed))
    if not places:
        return _any_value(random)
    holder, key = random.choice(places)
    kind = random.randrange(8)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, list):
        holder.insert(key, copy.deepcopy(holder[key]))
    elif kind == 1:
        holder[random.choice(WORDS)] = holder.pop(key)
    elif kind == 2:
        there, other = random.choice(places)
        holder[key], there[other] = copy.deepcopy(there[other]), copy.deepcopy(holder[key])
    elif kind == 3 and isinstance(holder[key], int):
        holder[key] += random.choice((-1, 1))
    else:
        holder[key] = _any_value(random)
    return changed


def repeatedly(
    mutate: Callable[[Any, random.Random], Any], value: Any, random: random.Random
) -> Any:
    """One change most of the time, else several."""
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        value = mutate(value, random)
    return value


def mutated_json(text: str, random: random.Random) -> str:
    """A change of any of the kinds above to a JSON text."""
    kind = random.randrange(4)
    if kind == 0:
        return mutated_bytes(text.encode(), random).decode("utf-8", "replace")
    if kind == 1:
        return str(repeatedly(mutated_text, text, random))
    return json.dumps(repeatedly(mutated_value, json.loads(text), random))


def _places(value: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    if isinstance(value, (list, dict)):
        keys = list(value) if isinstance(value, dict) else range(len(value))
        for key in keys:
            found.append((value, key))
            found.extend(_places(value[key]))
    return found


def _any_value(random: random.Random) -> Any:
    kind = random.randrange(6)
    if kind < 3:
        return random.choice(NUMBERS)
    if kind == 3:
        return random.choice(WORDS)
    if kind == 4:
        return random.choice((None, True, False, float("nan"), float("inf"), float("-inf")))
    return random.choice(([], {}, [0, 1, 1, 10**12, 10**6], [[[[1]]]], {"tensor": {}}))


def with_digest(text: str) -> str:
    """The text of a certificate with the digest that its content has, as malice would give it."""
    try:
        data = json.loads(text)
        return json.dumps({**data, "digest": content_digest(data)})
    except (ValueError, TypeError, RecursionError):
        return text
