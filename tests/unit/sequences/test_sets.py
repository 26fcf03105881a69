"""Sequences in memory."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from prunella.core.batches import read_batch
from prunella.core.errors import DataError
from prunella.core.samples import SampleIds
from prunella.sequences import SequenceSet


def make(count: int = 5, *, lengths: bool = False) -> SequenceSet:
    generator = torch.Generator().manual_seed(0)
    return SequenceSet(
        name="toy",
        inputs=torch.randn(count, 4, 3, generator=generator),
        targets=torch.randn(count, 4, 2, generator=generator),
        lengths=torch.arange(count) % 4 + 1 if lengths else None,
        features=("a", "b", "c"),
        outputs=("x", "y"),
        scale=(10.0, 2.0),
        shift=(0.0, -1.0),
    )


def classes(count: int = 5) -> SequenceSet:
    return replace(
        make(count), targets=torch.arange(count) % 3, outputs=("p", "q", "r"), scale=(), shift=()
    )


def texts() -> SequenceSet:
    return replace(
        classes(3), inputs=torch.tensor([[1, 2], [3, 0], [0, 0]]), features=tuple("abcd")
    )


@pytest.mark.parametrize("lengths", [False, True])
def test_loader_yields_all_in_order_and_its_batches_are_read(lengths: bool) -> None:
    sequences = make(lengths=lengths)
    batches = [read_batch(batch) for batch in sequences.loader(2)]
    assert [len(batch) for batch in batches] == [2, 2, 1]
    inputs = torch.cat([batch.inputs.args[0] for batch in batches])
    assert torch.equal(inputs, sequences.inputs)
    assert torch.equal(torch.cat([b.given_labels for b in batches]), sequences.targets)
    assert all(len(batch.inputs.args) == 1 + lengths for batch in batches)
    if lengths:
        given = torch.cat([batch.inputs.args[1] for batch in batches])
        assert torch.equal(given, sequences.lengths)


@pytest.mark.parametrize("lengths", [False, True])
def test_fingerprints_are_those_of_the_batches(lengths: bool) -> None:
    sequences = make(lengths=lengths)
    seen = SampleIds.union(read_batch(batch).ids for batch in sequences.loader(2))
    assert seen == sequences.ids
    assert seen.overlap(sequences.subset([1, 3]).ids) == 2
    assert not sequences.subset([0]).ids.overlap(sequences.subset([1]).ids)


def test_classes_are_labels() -> None:
    (batch,) = classes().loader(9)
    assert torch.equal(read_batch(batch).labels, torch.tensor([0, 1, 2, 0, 1]))
    assert classes().classes
    assert not make().classes


def test_shuffling_follows_the_generator() -> None:
    sequences = classes(64)
    sequences = replace(sequences, targets=torch.arange(64), outputs=tuple(map(str, range(64))))

    def order(seed: int) -> list[int]:
        loader = sequences.loader(8, shuffle=True, generator=torch.Generator().manual_seed(seed))
        return torch.cat([y for _, y in loader]).tolist()

    assert sorted(order(1)) == list(range(64))
    assert order(1) == order(1)
    assert order(1) != order(2)


def test_single_item() -> None:
    inputs, targets = make().loader(2).dataset[3]
    assert torch.equal(inputs, make().inputs[3])
    assert torch.equal(targets, make().targets[3])
    (inputs, length), _ = make(lengths=True).loader(2).dataset[3]
    assert inputs.shape == (4, 3)
    assert length == 4


def test_units() -> None:
    found = make().in_units(torch.tensor([[0.5, 0.5], [1.0, 0.0]]))
    assert torch.equal(found, torch.tensor([[5.0, 0.0], [10.0, -1.0]]))
    with pytest.raises(DataError, match=r"values of shape \(3,\) for the outputs"):
        make().in_units(torch.zeros(3))
    with pytest.raises(DataError, match="of a set that predicts numbers"):
        classes().in_units(torch.zeros(3))


def test_subset_and_split() -> None:
    sequences = make(10, lengths=True)
    part = sequences.subset(torch.tensor([4, -1]), name="two")
    assert part.name == "two"
    assert torch.equal(part.inputs, sequences.inputs[[4, 9]])
    assert torch.equal(part.targets, sequences.targets[[4, 9]])
    assert part.lengths.tolist() == [1, 2]
    assert len(sequences.subset([])) == 0
    first, second = sequences.split(0.7)
    assert torch.equal(torch.cat((first.inputs, second.inputs)), sequences.inputs)
    assert (len(first), len(second)) == (7, 3)
    drawn, rest = sequences.split(0.5, generator=torch.Generator().manual_seed(3))
    assert not torch.equal(drawn.inputs, sequences.inputs[:5])
    assert SampleIds.union((drawn.ids, rest.ids)).hashes == sequences.ids.hashes
    assert [len(p) for p in make(2).split(0.01)] == [1, 1]
    assert [len(p) for p in make(2).split(0.99)] == [1, 1]


def test_texts_are_places_in_a_vocabulary() -> None:
    (batch,) = texts().loader(3)
    assert batch[0].dtype == torch.int64
    with pytest.raises(DataError, match="from 0 to 9; expected places in the vocabulary, 0 to 3"):
        replace(texts(), inputs=torch.tensor([[1, 2], [9, 0], [0, 0]]))


NAN = torch.full((5, 4, 3), torch.nan)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"inputs": torch.zeros(5, 4, 3).double()}, r"float64 .* expected float32 \(N, T, D\)"),
        ({"inputs": torch.zeros(5, 4)}, r"of shape \(5, 4\); expected float32"),
        ({"features": ("a",)}, "with 1 names of features"),
        ({"inputs": NAN}, "inputs are .* not all finite; fill in or drop"),
        ({"targets": NAN[..., :2]}, "targets are .* not all finite"),
        ({"targets": torch.zeros(5, 3, 2)}, r"expected float32 \(5, 4, 2\) or \(5, 2\)"),
        ({"targets": torch.zeros(5, 2).half()}, "targets are torch.float16"),
        ({"targets": torch.zeros(5, 1).long()}, "expected one class for each of 5"),
        ({"targets": torch.arange(5)}, "from 0 to 4; expected classes 0 to 1"),
        ({"scale": (1.0,)}, "expected 2 numbers each"),
        ({"scale": (1.0, 0.0)}, "the scale positive"),
        ({"lengths": torch.ones(4).long()}, "expected one int64 number for each of 5"),
        ({"lengths": torch.tensor([1, 2, 3, 4, 5])}, "from 1 to 5; expected 1 to 4 steps"),
        ({"lengths": torch.tensor([1, 0, 3, 4, 4])}, "from 0 to 4; expected 1 to 4 steps"),
    ],
)
def test_what_does_not_fit_is_refused(change, words) -> None:
    with pytest.raises(DataError, match=f"toy: .*{words}"):
        replace(make(), **change)


def test_wrong_calls_are_refused() -> None:
    with pytest.raises(DataError, match="batch size must be at least 1, got 0"):
        make().loader(0)
    with pytest.raises(DataError, match="the set is empty"):
        make().subset([]).loader(1)
    with pytest.raises(DataError, match="turn a mask into positions"):
        make().subset(torch.ones(5, dtype=torch.bool))
    with pytest.raises(DataError, match="from 0 to 5, but there are 5 sequences"):
        make().subset([0, 5])
    with pytest.raises(DataError, match=r"fraction 1.0 of 5 sequences"):
        make().split(1.0)
    with pytest.raises(DataError, match=r"fraction 0.5 of 1 sequences"):
        make(1).split(0.5)
