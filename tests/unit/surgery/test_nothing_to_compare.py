"""A comparison in which nothing is compared is no comparison."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import prunella
from prunella.core.errors import SurgeryError
from prunella.surgery import verify
from prunella.surgery.probes import relative_difference

IMAGE = torch.randn(1, 3, 12, 12, generator=torch.Generator().manual_seed(0))


class Found(nn.Module):
    """Gives the scores that are high enough, as a detector does."""

    def __init__(self, least: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Conv2d(3, 8, 3)
        self.head = nn.Conv2d(8, 1, 1)
        nn.init.uniform_(self.head.weight)
        self.least = least

    def forward(self, x):
        scores = self.head(torch.relu(self.features(x))).flatten()
        return scores[scores > self.least]


class Classes(nn.Sequential):
    def forward(self, x):
        return super().forward(x).argmax(dim=1)


def half(model, example):
    graph = prunella.trace(model, example)
    kept = {group.name: torch.arange(0, group.size, 2) for group in graph.prunable}
    return prunella.Plan.from_kept(graph, kept)


def cut_wrongly(monkeypatch):
    """Scale what the cut network's first layer gives."""
    right = verify.cut

    def wrong(model, graph, kept):
        small = right(model, graph, kept)
        with torch.no_grad():
            next(small.parameters()).mul_(1.5)
        return small

    monkeypatch.setattr(verify, "cut", wrong)


def test_nothing_found_anywhere():
    model = Found(least=1e6).eval()
    plan = half(model, IMAGE)
    with pytest.raises(SurgeryError, match=r"Found and .* without a single number.*Trace with"):
        plan.apply(model)
    with pytest.raises(SurgeryError, match="lower the score that an object must have"):
        plan.apply_verified(model)
    model.least = -1.0  # as the message advises
    small, difference = plan.apply_verified(model)
    assert difference < 1e-5
    small.least = 1e6
    assert small(IMAGE).numel() == 0


def test_found_in_the_example_alone(monkeypatch):
    """What noise does not show, the example does."""
    model = Found(least=10.0).eval()
    example = 1000 * IMAGE
    assert model(torch.randn(3, 3, 12, 12)).numel() == 0
    plan = half(model, example)
    assert plan.apply_verified(model)[1] < 1e-5
    cut_wrongly(monkeypatch)
    with pytest.raises(SurgeryError, match="differs from the masked original"):
        plan.apply(model)


def test_classes_are_compared(monkeypatch):
    torch.manual_seed(0)
    model = Classes(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 5, 3)).eval()
    plan = half(model, IMAGE)
    assert plan.apply_verified(model)[1] == 0
    cut_wrongly(monkeypatch)
    with pytest.raises(SurgeryError, match="differs from the masked original"):
        plan.apply(model)


def test_difference_of_any_kind_of_number():
    empty, whole = torch.zeros(0, 4), torch.tensor([1, 2, 3, 4])
    assert math.isnan(relative_difference([empty], [empty]))
    assert math.isnan(relative_difference([], []))
    assert relative_difference([empty, whole], [empty, whole]) == 0
    assert relative_difference([empty, whole], [empty, whole + torch.tensor([0, 0, 0, 1])]) == 0.25
    assert relative_difference([empty], [torch.zeros(1, 4)]) == math.inf
    phases = torch.tensor([3 + 4j, 1j])
    assert relative_difference([phases], [phases]) == 0
    assert relative_difference([phases], [phases + 2j]) == pytest.approx(2 / 6)
    # Where there are fractional numbers, they decide: classes follow from them.
    assert relative_difference([whole.float(), whole], [whole.float(), whole + 1]) == 0
