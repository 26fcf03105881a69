"""Ten thousand mutated headers, and other texts: each is refused in one sentence, or is sound.

The seed is fixed, so a failure can be repeated; the message of a failed assertion holds the text.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from pathlib import Path

import pytest
import torch

import prunella
from prunella.cli.config import CertifyConfig, PruneConfig, TrainConfig, resolve, to_yaml
from prunella.core.certificates import Certificate
from prunella.files.plans import plan_from_json, plan_to_json
from prunella.plans import Plan
from prunella.report import from_json, render, to_json

PLANS = 8_500  # read from memory
FILES = 1_500  # real files, through prunella.load
EXTRA = 1 << 30  # bytes that all of them together may take
SLOWEST = 10.0  # seconds; the machine may be busy


@pytest.fixture
def watch(refused):
    """Counts what is read and what refused, and how long the slowest took."""
    counts: Counter[str] = Counter()

    def attempt(read, text):
        result = []
        begin = time.monotonic()
        try:
            message = refused(lambda: result.append(read()))
        except BaseException as error:
            error.add_note(f"mutated text: {text!r:.4000}") if hasattr(error, "add_note") else None
            raise
        assert time.monotonic() - begin < SLOWEST, text
        counts["refused" if message else "read"] += 1
        return None if message else result[0]

    attempt.counts = counts
    return attempt


def assert_consistent(plan: Plan) -> None:
    """What a plan promises: units within their groups, positions with one owner, exact costs."""
    again = plan_from_json(plan_to_json(plan), source="again")
    assert again.achieved == plan.achieved
    assert set(plan.kept) == {group.name for group in plan.graph.prunable}
    shapes = {tensor.name: tensor.shape for tensor in plan.graph.tensors}
    owned: set[tuple[str, int, int]] = set()
    for group in plan.graph.groups:
        if group.prunable:
            kept = plan.kept[group.name].tolist()
            assert kept == sorted(set(kept))
            assert 0 <= kept[0] <= kept[-1] < group.size
        for member in group.members:
            assert len(member.indices) == group.size
            for position in member.indices.reshape(-1).tolist():
                place = (member.tensor, member.axis, position)
                assert place not in owned
                owned.add(place)
                if member.tensor in shapes:
                    assert 0 <= position < shapes[member.tensor][member.axis]
    assert 0 <= plan.achieved.params <= plan.original.params


def test_mutated_plans(pruned, files, mutate, watch, memory):
    split, _ = files
    text = split(pruned)[0]["__metadata__"]["plan"]
    generator = random.Random(20260512)
    with memory(EXTRA):
        for _ in range(PLANS):
            changed = mutate.mutated_json(text, generator)
            plan = watch(lambda changed=changed: plan_from_json(changed, source="file"), changed)
            if plan is not None:
                assert_consistent(plan)
    assert watch.counts["read"] > 100  # some changes do no harm, as to a name
    assert sum(watch.counts.values()) == PLANS


def mutated_file(pruned, files, mutate, generator) -> bytes:
    """A change to the header as bytes, as text, to one of its texts, or to the plan in it."""
    split, join = files
    header, body = split(pruned)
    kind = generator.randrange(4)
    if kind == 0:
        return mutate.mutated_bytes(pruned[: len(pruned) - len(body)], generator) + body
    if kind == 1:
        text = mutate.mutated_json(json.dumps(header), generator)
        return join(text.encode("utf-8", "replace"), body)
    texts = header["__metadata__"]
    if kind == 2:
        name = generator.choice(sorted(texts))
        texts[name] = mutate.mutated_bytes(texts[name].encode(), generator).decode(
            "utf-8", "replace"
        )
    else:
        texts["plan"] = mutate.mutated_json(texts["plan"], generator)
    return join(header, body)


def test_mutated_files(pruned, files, mutate, watch, memory, fresh, tmp_path):
    model = fresh()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    path = tmp_path / "mutated.safetensors"
    generator = random.Random(20260513)
    with memory(EXTRA):
        for _ in range(FILES):
            data = mutated_file(pruned, files, mutate, generator)
            path.write_bytes(data)
            small = watch(lambda: prunella.load(path, model), data)
            if small is not None:
                with torch.no_grad():
                    assert small(torch.zeros(2, 1, 2, 2)).shape == (2, 3)
    assert watch.counts["read"] > 10
    assert sum(watch.counts.values()) == FILES
    assert list(tmp_path.iterdir()) == [path]
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())


def test_mutated_certificates(mutate, watch, memory):
    text = mutate.CERTIFICATE.to_json()
    generator = random.Random(1)
    with memory(EXTRA):
        for _ in range(2_000):
            changed = mutate.with_digest(mutate.mutated_json(text, generator))
            found = watch(lambda changed=changed: Certificate.from_json(changed), changed)
            if found is not None:
                assert found.statement
                assert Certificate.from_json(found.to_json()) == found
    assert watch.counts["read"] > 100


def test_mutated_reports(mutate, watch, memory):
    """A report that can be read can also be shown."""
    text = to_json(mutate.REPORT)
    generator = random.Random(2)
    pages = 0
    with memory(EXTRA):
        for _ in range(2_000):
            changed = mutate.mutated_json(text, generator)
            found = watch(lambda changed=changed: from_json(changed), changed)
            if found is not None:
                assert to_json(from_json(to_json(found))) == to_json(found)
                if pages < 60:  # each holds the plotting library, which takes its time
                    pages += 1
                    assert "<html" in render(found)
    assert watch.counts["read"] > 60


def test_mutated_configurations(mutate, watch, memory, tmp_path):
    configs = (
        PruneConfig(network="resnet20", data="mnist", weights=Path("w"), params=0.4),
        CertifyConfig(network="resnet20", data="mnist", weights=Path("w"), pruned=Path("p")),
        TrainConfig(network="resnet20", data="mnist", network_args={"a": [1, 2]}),
    )
    path = tmp_path / "c.yaml"
    generator = random.Random(3)
    with memory(EXTRA):
        for turn in range(400):
            config = configs[turn % 3]
            text = to_yaml(config)
            if generator.randrange(2):
                data = mutate.mutated_bytes(text.encode(), generator)
            else:
                data = mutate.repeatedly(mutate.mutated_text, text, generator).encode()
            path.write_bytes(data)
            found = watch(lambda config=config: resolve(type(config), path, {}), data)
            assert found is None or type(found) is type(config)
    assert watch.counts["read"] > 10
