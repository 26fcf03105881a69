"""Fingerprints of samples, batches of loaders, modes, and the errors' family."""

from __future__ import annotations

import json
from collections import UserDict, namedtuple
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import prunella
from prunella.core import errors
from prunella.core.batches import check_labels, read_batch
from prunella.core.inputs import Inputs
from prunella.core.modes import evaluating, training_flags_restored
from prunella.core.outputs import class_scores, logits_of
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


def called(batch):
    """Arguments and labels that are read from a batch."""
    read = read_batch(batch)
    return read.inputs.args, dict(read.inputs.kwargs), read.labels


def test_a_tensor_with_and_without_labels():
    x, y = torch.zeros(3, 2), torch.tensor([0, 1, 1])
    assert called(x) == ((x,), {}, None)
    assert called([x]) == called((x, None)) == called(x)
    for given_batch in ((x, y), [x, y], (x, [0, 1, 1]), (x, y.numpy()), (x, y.int(), "path")):
        args, kwargs, labels = called(given_batch)
        assert args[0] is x
        assert (len(args), kwargs) == (1, {})
        assert torch.equal(labels, y)
        assert labels.dtype == torch.int64
        assert len(read_batch(given_batch)) == 3
    ready = read_batch((x, y))
    assert read_batch(ready) is ready
    moved = ready.to(torch.device("meta"))
    assert (moved.inputs.args[0].device.type, moved.labels.device.type) == ("meta", "meta")


def test_several_inputs_are_a_tuple_inside_of_a_pair():
    a, b, y = torch.zeros(3, 2), torch.ones(3, 5), torch.tensor([0, 1, 1])
    for given_batch in (((a, b), y), [[a, b], y]):
        args, kwargs, labels = called(given_batch)
        assert args == (a, b)
        assert kwargs == {}
        assert torch.equal(labels, y)
    assert called(((a, b), None)) == called([(a, b)]) == ((a, b), {}, None)
    # The first entry of a flat tuple is all there is of the inputs, and labels are only checked
    # where they are used.
    assert called((a, y, b))[0] == (a,)
    with pytest.raises(errors.DataError, match=r"shape \(3, 5\).* \(\(first, second\), labels\)"):
        called((a, b, y))


@pytest.mark.parametrize("name", ["labels", "label"])
def test_a_dictionary_holds_keyword_arguments_and_perhaps_labels(name):
    x, y = torch.zeros(3, 2), torch.tensor([0, 1, 1])
    for given_batch in (
        {"x": x, "flag": True, name: y},
        UserDict(x=x, flag=True) | {name: y.tolist()},
        ({"x": x, "flag": True}, y),
        ({"flag": True, "x": x, name: y}, None),
    ):
        args, kwargs, labels = called(given_batch)
        assert args == ()
        assert kwargs == {"flag": True, "x": x}
        assert list(kwargs) == ["flag", "x"]
        assert torch.equal(labels, y)
    assert called({"x": x}) == ((), {"x": x}, None)


def test_labels_are_given_once():
    x, y = torch.zeros(3, 2), torch.tensor([0, 1, 1])
    with pytest.raises(errors.DataError, match="'labels' and behind the dictionary; give them"):
        read_batch(({"x": x, "labels": y}, y))
    with pytest.raises(errors.DataError, match="as the entry 'labels' and as the entry 'label';"):
        read_batch({"x": x, "label": y, "labels": y})


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("text", "str"),
        (None, "NoneType"),
        ((), "tuple"),
        ([], "list"),
        (([1, 2], [3, 4]), "tuple of int"),
        ((None, torch.zeros(2)), "tuple of NoneType"),
    ],
)
def test_what_is_no_batch(bad, words):
    with pytest.raises(errors.DataError, match=f"the loader yields {words}; expected a tensor"):
        read_batch(bad)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({}, "shapes none; expected"),
        ({"labels": torch.zeros(2)}, "shapes none; expected"),
        ({"x": torch.zeros(2, 3), "y": torch.zeros(3, 3)}, r"shapes x \(2, 3\), y \(3, 3\); exp"),
        ({"x": torch.tensor(1.0)}, r"shapes x \(\); expected at least one tensor, and the sample"),
        (torch.tensor(1.0), r"shapes \(\); expected"),
        (((torch.zeros(2), [torch.zeros(4)]), None), r"shapes \(2,\), \(4,\); expected"),
        (
            {0: torch.zeros(2)},
            "a dictionary with the key 0; expected names of the model's arguments",
        ),
    ],
)
def test_the_first_axis_is_the_sample(bad, words):
    with pytest.raises(errors.DataError, match=words):
        read_batch(bad)


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (torch.zeros(2), r"3 inputs with labels of shape \(2,\); expected one integer label"),
        (torch.zeros(3, 1), r"labels of shape \(3, 1\)"),
        (["cat", "dog", "dog"], "3 inputs with list of str as labels; expected one integer label"),
        ({"y": 1}, "3 inputs with dict of int as labels"),
    ],
)
def test_labels_are_checked_where_they_are_used(labels, words):
    read = read_batch((torch.zeros(3, 2), labels))
    assert len(read) == 3
    with pytest.raises(errors.DataError, match=words):
        read.labels  # noqa: B018


def test_fingerprints_of_batches():
    x, m, y = torch.arange(6.0).reshape(3, 2), torch.ones(3, 2), torch.tensor([0, 1, 1])
    alone = read_batch(x).ids
    assert alone == SampleIds.of(x) == read_batch((x, y)).ids
    named = read_batch({"mask": m, "x": x}).ids
    assert named == read_batch({"x": x, "labels": y, "mask": m}).ids == SampleIds.of(m, x)
    assert named.overlap(alone) == 0
    nested = read_batch({"parts": [m, x]}).ids
    assert nested == named
    changed = m.clone()
    changed[1, 0] = 0
    assert read_batch({"x": x, "mask": changed}).ids.overlap(named) == 2


def test_batches_of_one_form_are_put_together():
    def batch(rows, width, flag=True):
        return Inputs(
            args=([torch.zeros(rows, 2)],), kwargs={"x": torch.ones(rows, width), "f": flag}
        )

    whole = Inputs.together([batch(2, 4), batch(3, 4)])
    assert [tuple(t.shape) for t in whole.tensors] == [(5, 2), (5, 4)]
    assert whole.kwargs["f"] is True
    assert batch(2, 4).form == batch(3, 4).form
    assert len({b.form for b in (batch(2, 4), batch(2, 5), batch(2, 4, flag=False))}) == 3
    assert batch(2, 4).form != batch(2, 4).map(lambda t: t.double()).form
    part = whole.samples(slice(1, 4))
    assert [len(tensor) for tensor in part.tensors] == [3, 3]


# -- outputs -------------------------------------------------------------------------------------


@dataclass
class WithField:
    logits: torch.Tensor
    loss: float = 0.0


def test_where_logits_are_found():
    x = torch.zeros(2, 5)
    pair = namedtuple("Pair", ["auxiliary", "logits"])
    for outputs in (x, {"logits": x, "loss": 1}, WithField(x), (x, "more"), [x], pair(None, x)):
        assert logits_of(outputs) is x


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        (
            {"hidden": 1, "pooled": 2},
            "the teacher returns dict with hidden, pooled; expected logits",
        ),
        ({}, "returns dict with no entries;"),
        ((1, torch.zeros(2)), "returns tuple that begins with int;"),
        ((), "returns empty tuple;"),
        (None, "returns NoneType; expected logits: a tensor, an object or a dictionary with"),
        (WithField(None), "returns WithField;"),
    ],
)
def test_outputs_without_logits(outputs, words):
    with pytest.raises(errors.InputError, match=words):
        logits_of(outputs, whose="the teacher")


def test_class_scores_are_rows():
    assert class_scores((torch.zeros(2, 5),), 2).shape == (2, 5)
    for shape in ((2,), (3, 5), (2, 5, 7), (2, 0)):
        with pytest.raises(errors.InputError, match=r"for 2 samples; expected \(2, classes\)"):
            class_scores(torch.zeros(shape), 2)


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
