"""A certificate is what it says, or every difference is named."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from prunella.certificate import Verification, certify, verify_certificate
from prunella.core.certificates import Certificate, content_digest
from prunella.core.errors import DataError, FileError, InputError
from prunella.core.samples import SampleIds

N = 240


def networks() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(2)
    original = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4))
    small = copy.deepcopy(original)
    with torch.no_grad():
        small[0].weight[:2] = 0
    return original, small


def batches(seed: int = 1, size: int = 50, n: int = N) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(n, 6, generator=generator)
    labels = torch.randint(4, (n,), generator=generator)
    return [(inputs[i : i + size], labels[i : i + size]) for i in range(0, n, size)]


def soft(output, target):
    return 1 - output.softmax(1).gather(1, target[:, None])[:, 0]


LOSSES = {"soft": soft}
USED = SampleIds.of(torch.full((3, 6), 7.0))


def made() -> str:
    return certify(
        *networks(), batches(), per_class=True, top_k=2, losses=LOSSES, used=[USED]
    ).to_json()


def verified(text: str, **changes: Any) -> Verification:
    original, small = networks()
    given = {"original": original, "small": small, "loader": batches(size=80), **changes}
    return verify_certificate(text, losses=LOSSES, used=[USED], **given)


def rejected(text: str, **changes: Any) -> set[str]:
    """Names of what differs; "damaged" where no certificate can hold the value."""
    try:
        return {difference.field for difference in verified(text, **changes).differences}
    except (FileError, InputError):
        return {"damaged"}


# -- as it is ----------------------------------------------------------------------------------


def test_a_certificate_holds_as_it_stands() -> None:
    text = made()
    result = verified(text)
    assert result.differences == ()
    assert result.matches
    assert result.certificate == Certificate.from_json(text)
    assert set(result.verified) == set(json.loads(text))
    assert len(result.verified) == 23


def test_order_and_batches_of_the_samples_play_no_part() -> None:
    assert verified(made(), loader=batches(size=17)[::-1]).matches


def test_one_without_labels_losses_and_records_holds() -> None:
    inputs = [x for x, _ in batches()]
    text = certify(*networks(), inputs).to_json()
    assert verify_certificate(text, *networks(), inputs).matches
    more = {d.field for d in verify_certificate(text, *networks(), batches()).differences}
    assert more == {"accuracy_drop", "accuracy_drop_upper", "assumptions[2]"}


def test_a_certificate_of_the_first_version_holds() -> None:
    data = json.loads(certify(*networks(), batches(), used=[USED]).to_json())
    later = ("digest", "classes", "top_k", "losses", "layers", "samples_needed", "used_samples",
             "not_covered")  # fmt: skip
    old = {name: value for name, value in data.items() if name not in later} | {"schema_version": 1}
    assert verify_certificate(json.dumps(old), *networks(), batches(), used=[USED]).matches
    for name, value in (("alpha", 0.06), ("n", 241), ("statement", "Well."), ("disagreement", 0)):
        text = json.dumps({**old, name: value})
        assert not verify_certificate(text, *networks(), batches(), used=[USED]).matches


# -- changed texts -------------------------------------------------------------------------------


def places(value: Any, where: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every single entry."""
    if isinstance(value, dict):
        for name, entry in value.items():
            yield from places(entry, (*where, name))
    elif isinstance(value, list) and value:
        for place, entry in enumerate(value):
            yield from places(entry, (*where, place))
    else:
        yield where


def alterations(value: Any) -> list[Any]:
    """Small and large changes, and other kinds of values."""
    if isinstance(value, float):
        small = [math.nextafter(value, 1), value + 1e-9, value - 1e-6, value + 1e-4]
        return [*small, value + 0.01, value - 0.3, 0.5, 1 - value, -value - 0.1, None, str(value)]
    if isinstance(value, int):
        return [value + 1, value - 1, 2 * value + 3, 0, float(value), None, str(value)]
    if isinstance(value, str):
        last = "1" if value[-1] != "1" else "2"
        return [value[:-1] + last, value[1:], value + " ", value.upper() + "x", "", None, 3]
    return [0, 0.1, "", [1], {}] if value is None else [[*value, 1], None]


def with_entry(data: Any, way: tuple[Any, ...], value: Any) -> Any:
    changed = copy.deepcopy(data)
    inner = changed
    for step in way[:-1]:
        inner = inner[step]
    inner[way[-1]] = value
    return changed


def all_alterations(data: dict[str, Any]) -> list[tuple[tuple[Any, ...], Any]]:
    found = []
    for way in places(data):
        value = data
        for step in way:
            value = value[step]
        found += [(way, other) for other in alterations(value)
                  if json.dumps(other) != json.dumps(value)]  # fmt: skip
    return found


def test_every_change_of_a_single_entry_is_rejected() -> None:
    data = json.loads(made())
    changes = all_alterations(data)
    assert {way[0] for way, _ in changes} == set(data)  # every field, the digest among them
    assert len(changes) >= 200
    passed = [
        (way, value)
        for way, value in changes
        if not rejected(json.dumps(with_entry(data, way, value)))
    ]
    assert passed == []


def test_entries_left_out_or_added_are_rejected() -> None:
    data = json.loads(made())
    for name in data:
        assert rejected(json.dumps({key: data[key] for key in data if key != name})), name
    assert rejected(json.dumps({**data, "more": 1})) == {"digest"}
    for name in ("classes", "losses", "assumptions", "not_covered"):
        assert rejected(json.dumps({**data, name: data[name][:-1]})), name


def test_even_with_a_new_digest_large_changes_are_found_by_computing_again() -> None:
    """All but what the maker alone knew, and what no bound depends on."""
    data = json.loads(made())
    free = {("used_samples",), ("schema_version",)}
    for way, value in all_alterations(data):
        old = data
        for step in way:
            old = old[step]
        near = (
            isinstance(value, float) and isinstance(old, float) and abs(value - old) <= 2e-6
        ) or value == old
        if way in free or way[0] == "digest" or near:
            continue
        changed = with_entry(data, way, value)
        changed["digest"] = content_digest(changed)
        assert rejected(json.dumps(changed)), (way, value)


def test_differences_are_named_one_by_one() -> None:
    data = json.loads(made())
    changed = with_entry(data, ("classes", 1, "disagreement_upper"), 0.999)
    changed["disagreement_upper"] = 0.9
    found = verified(json.dumps(changed)).differences
    named = {difference.field: difference for difference in found}
    assert {"digest", "disagreement_upper", "classes[1].disagreement_upper"} <= set(named)
    upper = data["disagreement_upper"]
    assert str(named["disagreement_upper"]) == (
        f"disagreement_upper: the certificate has 0.9, found {upper}"
    )


# -- other networks and samples ------------------------------------------------------------------


def test_other_networks_are_named() -> None:
    text = made()
    original, small = networks()
    with torch.no_grad():
        original[0].bias[0] += 1e-6
    assert "original_digest" in rejected(text, original=original)
    with torch.no_grad():
        small[2].weight[0, 0] += 0.5
    assert "small_digest" in rejected(text, small=small)
    swapped = rejected(text, original=networks()[1], small=networks()[0])
    assert {"original_digest", "small_digest"} <= swapped


def test_other_samples_are_named() -> None:
    text = made()
    assert "samples_digest" in rejected(text, loader=batches(seed=8))
    assert {"n", "samples_digest"} <= rejected(text, loader=batches()[:-1])
    relabelled = [(x, 3 - y) for x, y in batches()]
    assert {"accuracy_drop_upper", "losses[0].mean"} <= rejected(text, loader=relabelled)


def test_more_used_samples_than_the_certificate_knows_are_named() -> None:
    used = [USED, SampleIds.of(torch.full((2, 6), 9.0))]
    result = verify_certificate(made(), *networks(), batches(), losses=LOSSES, used=used[:1])
    assert result.matches
    other = SampleIds.union([USED, SampleIds.of(torch.arange(30.0).reshape(5, 6))])
    result = verify_certificate(made(), *networks(), batches(), losses=LOSSES, used=[other])
    assert {d.field for d in result.differences} == {"used_samples", "assumptions[1]"}
    seen = SampleIds.of(batches()[0][0])
    with pytest.raises(DataError, match="50 of the 240 certification samples were already used"):
        verify_certificate(made(), *networks(), batches(), losses=LOSSES, used=[seen])


def test_losses_must_be_those_of_the_certificate() -> None:
    for losses in ({}, {"other": soft}, {"soft": soft, "other": soft}):
        with pytest.raises(InputError, match=r"bounds the losses \['soft'\], but the functions"):
            verify_certificate(made(), *networks(), batches(), losses=losses)


def test_texts_that_are_no_certificates() -> None:
    for text in ("", "[]", "{}", '{"schema_version": 99}'):
        with pytest.raises(FileError):
            verify_certificate(text, *networks(), batches())
