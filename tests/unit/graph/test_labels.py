"""Ties and freezes against a slow and simple union-find."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from prunella.graph.labels import Labels
from prunella.ops import StoredTensors

SIZES = (5, 9, 9, 4)


class Simple:
    """Classes as a list of sets."""

    def __init__(self, count: int) -> None:
        self.sets = [{label} for label in range(count)]
        self.frozen: set[int] = set()

    def of(self, label: int) -> set[int]:
        return next(found for found in self.sets if label in found)

    def tie(self, a: int, b: int) -> None:
        one, other = self.of(a), self.of(b)
        if 0 not in (a, b) and one is not other:
            self.sets.remove(other)
            one |= other

    def is_frozen(self, label: int) -> bool:
        return bool(self.of(label) & self.frozen)


@pytest.mark.parametrize("seed", range(40))
def test_classes_and_freezes_are_those_of_a_simple_union_find(seed: int) -> None:
    rng = np.random.default_rng(seed)
    model = nn.ParameterList(nn.Parameter(torch.zeros(size)) for size in SIZES)
    labels = Labels(StoredTensors(model))
    blocks = [labels.axis(str(place), 0) for place in range(len(SIZES) - 1)]
    simple = Simple(1 + sum(SIZES))
    for _ in range(int(rng.integers(1, 9))):
        if rng.random() < 0.3:
            some = rng.integers(0, labels.count, size=2)
            labels.freeze(torch.from_numpy(some), "why")
            simple.frozen |= set(some.tolist()) - {0}
        elif rng.random() < 0.3:
            labels.tie(blocks[1], blocks[2])
            for a, b in zip(blocks[1].tolist(), blocks[2].tolist(), strict=True):
                simple.tie(a, b)
        else:
            a, b = rng.integers(0, labels.count, size=(2, int(rng.integers(1, 7))))
            labels.tie(torch.from_numpy(a), torch.from_numpy(b))
            for one, other in zip(a.tolist(), b.tolist(), strict=True):
                simple.tie(one, other)
    met = torch.from_numpy(rng.integers(0, labels.count, size=SIZES[-1]))
    assert labels.adopt(str(len(SIZES) - 1), met)
    own = labels.axis(str(len(SIZES) - 1), 0)
    for one, other in zip(met.tolist(), own.tolist(), strict=True):
        simple.tie(one, other)

    every = torch.arange(labels.count)
    assert labels.classes(every).tolist() == [min(simple.of(label)) for label in every.tolist()]
    expected = [label != 0 and not simple.is_frozen(label) for label in every.tolist()]
    assert labels.movable(every).tolist() == expected


def test_only_a_vector_that_nothing_has_met_is_adopted() -> None:
    model = nn.ParameterList(nn.Parameter(torch.zeros(3)) for _ in range(2))
    labels = Labels(StoredTensors(model))
    first = labels.axis("0", 0)
    assert labels.adopt("1", first)
    assert not labels.adopt("1", first.flip(0))
    assert labels.classes(labels.axis("1", 0)).tolist() == first.tolist()
