"""The parts of a certificate that are asked for: classes, the k best, losses of the user's own."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from prunella.bounds import (
    betting_upper,
    clopper_pearson_upper,
    paired_difference_upper,
    samples_needed,
)
from prunella.certificate import certify
from prunella.core.certificates import Certificate
from prunella.core.errors import InputError
from prunella.core.samples import SampleIds, fingerprints

CLASSES = 5


class Table(nn.Module):
    """Looks its scores up: the first entry of a sample is its number."""

    def __init__(self, scores: torch.Tensor) -> None:
        super().__init__()
        self.scores = nn.Parameter(scores)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.scores[inputs[:, 0].long()]


def tables(n: int = 300) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Scores of both networks (n, classes) with ties, inputs (n, 1) and labels (n,)."""
    generator = torch.Generator().manual_seed(4)
    scores = torch.randint(8, (n, CLASSES), generator=generator).float()
    scores[:, 4] = -1  # a class that the original never names
    change = torch.randint(-3, 4, (n, CLASSES), generator=generator)
    labels = torch.randint(CLASSES, (n,), generator=generator)
    return scores, scores + change, torch.arange(n).float()[:, None], labels


def batches(inputs: torch.Tensor, labels: torch.Tensor | None, size: int = 64):
    for start in range(0, len(inputs), size):
        part = slice(start, start + size)
        yield inputs[part] if labels is None else (inputs[part], labels[part])


def miss(output, target):
    return (output.argmax(1) != target).float()


def soft(output, target):
    return 1 - output.softmax(1).gather(1, target[:, None])[:, 0]


def test_bounds_by_class_are_those_of_the_samples_that_the_original_gives_it() -> None:
    first, second, inputs, labels = tables()
    found = certify(Table(first), Table(second), batches(inputs, labels), per_class=True)
    tops, small = first.argmax(1), second.argmax(1)
    assert [bound.index for bound in found.classes] == [0, 1, 2, 3]
    for bound in found.classes:
        at = tops == bound.index
        differ = int((small[at] != bound.index).sum())
        assert bound.n == int(at.sum())
        assert bound.disagreement == differ / bound.n
        assert bound.disagreement_upper == clopper_pearson_upper(differ, bound.n, 0.01 / 4)
    assert sum(bound.n for bound in found.classes) == 300
    assert any("4 classes count as one: each holds with delta / 4 (0.0025)" in text
               for text in found.assumptions)  # fmt: skip
    assert any("all 4 together with at least 96 %" in text for text in found.assumptions)
    assert not certify(Table(first), Table(second), batches(inputs, labels)).classes


@pytest.mark.parametrize("k", [1, 2, 4])
def test_top_k_counts_the_lower_class_first_among_equal_scores(k: int) -> None:
    first, second, inputs, labels = tables()

    def best(scores: torch.Tensor) -> list[set[int]]:
        return [
            set(sorted(range(CLASSES), key=lambda c, row=row: (-float(row[c]), c))[:k])
            for row in scores
        ]

    right = [label in chosen for label, chosen in zip(labels.tolist(), best(first), strict=True)]
    small = [label in chosen for label, chosen in zip(labels.tolist(), best(second), strict=True)]
    plus = sum(a and not b for a, b in zip(right, small, strict=True))
    minus = sum(b and not a for a, b in zip(right, small, strict=True))
    assert plus != minus
    found = certify(Table(first), Table(second), batches(inputs, labels), top_k=k).top_k
    assert (found.k, found.missed, found.missed_upper) == (k, None, None)
    assert found.accuracy_drop == (plus - minus) / 300
    assert found.accuracy_drop_upper == paired_difference_upper(plus, minus, 300, 0.01)
    tops = first.argmax(1).tolist()
    missed = sum(top not in chosen for top, chosen in zip(tops, best(second), strict=True))
    found = certify(Table(first), Table(second), batches(inputs, None), top_k=k).top_k
    assert (found.accuracy_drop, found.accuracy_drop_upper) == (None, None)
    assert found.missed == missed / 300
    assert found.missed_upper == clopper_pearson_upper(missed, 300, 0.01)


def test_top_1_is_what_is_certified_anyway() -> None:
    first, second, inputs, labels = tables()
    found = certify(Table(first), Table(second), batches(inputs, labels), top_k=1)
    assert found.top_k.accuracy_drop_upper == found.accuracy_drop_upper
    found = certify(Table(first), Table(second), batches(inputs, None), top_k=1)
    assert found.top_k.missed_upper == found.disagreement_upper


def test_losses_are_bounded_by_betting_in_the_order_of_the_fingerprints() -> None:
    first, second, inputs, labels = tables()
    losses = {"miss": miss, "soft": soft}
    found = certify(Table(first), Table(second), batches(inputs, labels), losses=losses)
    order = np.argsort(np.array(fingerprints(inputs), dtype=np.uint64))
    assert not np.array_equal(order, np.arange(300))
    for bound, loss in zip(found.losses, (miss, soft), strict=True):
        before = loss(first, labels).double().numpy()[order]
        after = loss(second, labels).double().numpy()[order]
        assert bound.mean == pytest.approx(after.mean(), rel=1e-12)
        assert bound.increase == pytest.approx((after - before).mean(), rel=1e-12)
        assert bound.mean_upper == betting_upper(after, 0.01, 0, 1)
        assert bound.increase_upper == betting_upper(after - before, 0.01, -1, 1)
        assert bound.mean < bound.mean_upper < 1
        assert bound.increase < bound.increase_upper < bound.increase + 0.2
    assert [bound.name for bound in found.losses] == ["miss", "soft"]
    assert any("order of their fingerprints" in text for text in found.assumptions)
    assert any("all 7 together with at least 93 %" in text for text in found.assumptions)


def test_order_and_batches_of_the_loader_play_no_part() -> None:
    first, second, inputs, labels = tables()
    asked = {"per_class": True, "top_k": 2, "losses": {"soft": soft, "miss": miss}}
    turned = torch.argsort(labels)  # as in a folder for each class
    one = certify(Table(first), Table(second), batches(inputs, labels), **asked)
    two = certify(
        Table(first), Table(second), batches(inputs[turned], labels[turned], size=7), **asked
    )
    assert one == two
    assert Certificate.from_json(one.to_json()) == one


def test_a_loss_gets_what_the_model_returns_and_the_labels_of_the_loader() -> None:
    class Pair(Table):
        def forward(self, inputs):
            return super().forward(inputs), "more"

    seen = []

    def loss(output, target):
        seen.append((type(output), output[1], target))
        return torch.zeros(len(output[0]))

    first, second, inputs, labels = tables(20)
    certify(Pair(first), Pair(second), batches(inputs, None), losses={"zero": loss})
    assert seen == [(tuple, "more", None)] * 2
    seen.clear()
    found = certify(Pair(first), Pair(second), batches(inputs, labels), losses={"zero": loss})
    assert torch.equal(seen[0][2], labels)
    assert found.losses[0].mean == 0


@pytest.mark.parametrize(
    ("loss", "match"),
    [
        (lambda output, target: output.mean(), r"'bad' returns shape \(\) for 64 samples of the o"),
        (lambda output, target: output[:, :1], r"returns shape \(64, 1\) .*expected .*\(64,\)"),
        (lambda output, target: [0.5] * 64, "'bad' returns list for 64 samples"),
        (lambda output, target: output[:, 0] * 0 + 1.5, "returns 1.5 for a sample of the original"),
        (lambda output, target: output[:, 0] * 0 - 0.1, "returns -0.1 .*expected numbers from 0"),
        (lambda output, target: output[:, 0] * math.nan, "returns nan for a sample"),
    ],
)
def test_losses_that_are_not_one_number_from_0_to_1_for_each_sample(loss, match) -> None:
    first, second, inputs, labels = tables()
    with pytest.raises(InputError, match=match):
        certify(Table(first), Table(second), batches(inputs, labels), losses={"bad": loss})


@pytest.mark.parametrize("losses", [{"": miss}, {5: miss}, {"miss": 0.5}])
def test_losses_need_names_and_functions(losses) -> None:
    first, second, inputs, labels = tables()
    with pytest.raises(InputError, match=r"losses holds .*expected names and functions"):
        certify(Table(first), Table(second), batches(inputs, labels), losses=losses)


@pytest.mark.parametrize("k", [0, 1.5, True])
def test_top_k_must_be_a_number_of_classes(k) -> None:
    first, second, inputs, labels = tables()
    if k is True:
        k = CLASSES
        match = "top_k is 5, but the networks return 5 classes; expected fewer"
    else:
        match = "top_k is .*expected an integer of at least 1"
    with pytest.raises(InputError, match=match):
        certify(Table(first), Table(second), batches(inputs, labels), top_k=k)


def test_samples_needed_and_used_are_written_down() -> None:
    first, second, inputs, _ = tables(60)
    used = SampleIds.of(torch.tensor([[1000.0], [1001.0]]))
    found = certify(Table(first), Table(second), batches(inputs, None), used=[used])
    assert found.logit_error_bound is None
    assert found.samples_needed == samples_needed(0.05, 0.01) == 90
    assert found.used_samples == 2
    assert "(at least 90 are needed)" in found.statement
