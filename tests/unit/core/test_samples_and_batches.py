"""Fingerprints of samples, batches of loaders, modes, and the errors' family."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import prunella
from prunella.core import errors
from prunella.core.batches import LabelledBatch, check_labels, split_batch
from prunella.core.modes import evaluating, training_flags_restored
from prunella.core.positions import complement
from prunella.core.progress import length, silent
from prunella.core.samples import SampleIds

TYPES = [
    torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.uint8, torch.int64,
    torch.bool, torch.complex64,
]  # fmt: skip


# -- fingerprints --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", TYPES)
def test_any_type_has_a_fingerprint(dtype):
    x = torch.tensor([[0, 1], [1, 0], [0, 1]]).to(dtype)
    ids = SampleIds.of(x)
    assert (ids.count, len(ids.hashes)) == (3, 2)
    assert ids.overlap(SampleIds.of(x[1:2])) == 1


def test_order_and_layout_do_not_matter():
    x = torch.randn(20, 3, 4, 5)
    a = SampleIds.of(x)
    for other in (
        SampleIds.of(x[torch.randperm(20)]),
        SampleIds.of(x.to(memory_format=torch.channels_last)),
        SampleIds.of(x.clone().requires_grad_()),
        SampleIds.union([SampleIds.of(x[:7]), SampleIds.of(x[7:])]),
    ):
        assert (other, other.digest) == (a, a.digest)
    assert len(a.digest) == 16
    int(a.digest, 16)


def test_what_makes_samples_differ():
    x = torch.arange(12).float().reshape(3, 4)
    ids = SampleIds.of(x)
    changed = x.clone()
    changed[1, 2] += 1e-5 * 6
    assert ids.overlap(SampleIds.of(changed)) == 2
    assert ids.digest != SampleIds.of(changed).digest
    # The same bytes of another shape or type are another sample.
    assert ids.overlap(SampleIds.of(x.reshape(3, 2, 2))) == 0
    assert ids.overlap(SampleIds.of(x.view(torch.int32))) == 0
    half = torch.zeros(1, 4, dtype=torch.float16)
    assert SampleIds.of(half).overlap(SampleIds.of(half.bfloat16())) == 0
    assert ids.overlap(SampleIds.of(x.double())) == 0


def test_repeated_samples_count_but_are_one():
    x = torch.ones(5, 2)
    ids = SampleIds.of(x)
    assert (ids.count, len(ids.hashes), ids.overlap(ids)) == (5, 1, 1)
    assert ids.digest == SampleIds.of(x[:1]).digest
    assert SampleIds.none().overlap(ids) == 0
    assert SampleIds.union([]) == SampleIds.none()
    assert SampleIds.of(torch.zeros(0, 3)) == SampleIds.none()


@settings(max_examples=50, deadline=None)
@given(st.frozensets(st.integers(0, 2**64 - 1)), st.integers(1, 10**9))
def test_fingerprints_survive_json(hashes, repetitions):
    ids = SampleIds(hashes=hashes, count=repetitions * len(hashes))
    again = SampleIds.from_json(json.loads(json.dumps(ids.to_json())))
    assert again == ids
    assert again.digest == ids.digest


# -- batches -------------------------------------------------------------------------------------


def test_forms_of_a_batch():
    x, y = torch.zeros(3, 2), torch.tensor([0, 1, 1])
    assert split_batch(x).inputs is x
    assert split_batch(x).labels is None
    for given_batch in ((x, y), [x, y], (x, [0, 1, 1]), (x, y.numpy()), (x, y.int(), "path")):
        found = split_batch(given_batch)
        assert found.inputs is x
        assert torch.equal(found.labels, y)
        assert found.labels.dtype == torch.int64
        assert len(found) == 3
    assert split_batch([x]).labels is None
    assert split_batch((x, None)).labels is None
    ready = LabelledBatch(inputs=x, labels=y)
    assert split_batch(ready) is ready
    moved = ready.to(torch.device("meta"))
    assert (moved.inputs.device.type, moved.labels.device.type) == ("meta", "meta")


@pytest.mark.parametrize("bad", [{"x": torch.zeros(1)}, "text", None, (), [], ([1, 2], [3, 4])])
def test_what_is_no_batch(bad):
    with pytest.raises(errors.DataError, match=f"the loader yields {type(bad).__name__}; expected"):
        split_batch(bad)


def test_labels_out_of_range():
    check_labels(torch.tensor([0, 4, 2]), 5)
    check_labels(torch.tensor([], dtype=torch.long), 5)
    with pytest.raises(errors.DataError, match=r"labels run from 0 to 5, .* must lie in 0 to 4"):
        check_labels(torch.tensor([0, 5]), 5)
    with pytest.raises(errors.DataError, match=r"labels are torch.float64; expected integers"):
        check_labels(torch.zeros(2).double(), 5)


# -- small things --------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [evaluating, training_flags_restored])
def test_modes_are_restored_after_an_error(mode):
    model = nn.Sequential(nn.Linear(1, 1), nn.Dropout(), nn.BatchNorm1d(1))
    model[1].eval()
    flags = [m.training for m in model.modules()]
    inside = []

    def fails():
        with mode(model):
            inside.append((any(m.training for m in model.modules()), torch.is_grad_enabled()))
            model.train()
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert inside == [(False, False) if mode is evaluating else (True, True)]
    assert [m.training for m in model.modules()] == flags
    assert torch.is_grad_enabled()


def test_silent_progress_passes_everything_on():
    assert list(silent(range(3), description="x")) == [0, 1, 2]
    assert (length([1, 2]), length(iter([1, 2]))) == (2, None)


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_complement(data):
    size = data.draw(st.integers(0, 12))
    drawn = data.draw(st.lists(st.integers(0, size - 1), max_size=12)) if size else []
    found = complement(torch.tensor(drawn, dtype=torch.long), size).tolist()
    assert found == [p for p in range(size) if p not in drawn]


def test_every_error_is_one_family_and_an_ordinary_one():
    for name in ("Input", "Data", "File", "Budget", "Graph", "Surgery"):
        kind = getattr(prunella, f"{name}Error")
        assert issubclass(kind, prunella.PrunellaError)
        assert issubclass(kind, (ValueError, RuntimeError))
        assert kind.exit_code == (1 if name == "Surgery" else 2)
