"""Errors of the layers that read cut channels."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import prunella
from prunella.bounds import samples_needed, tolerance_limit
from prunella.core.errors import InputError


class Net(nn.Module):
    """`second` reads cut channels and loses outputs itself; `last` reads a flattened map."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 6, 3, padding=1)
        self.second = nn.Conv2d(6, 5, 3)
        self.last = nn.Linear(5 * 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.second(torch.relu(self.first(x))))
        return self.last(x.flatten(1))


class Twice(nn.Module):
    """One layer reads the channels of two others, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 6), nn.Linear(4, 6)
        self.both = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.both(torch.relu(self.one(x))) + self.both(torch.relu(self.two(x)))


class Folded(nn.Module):
    """The layer that reads the channels sees places as samples."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = torch.relu(self.one(x.reshape(-1, 2, 4)))
        return self.two(hidden.flatten(0, 1)).reshape(-1, 2, 3).sum(1)


def made(model: nn.Module, example: torch.Tensor, kept: dict[str, list[int]]):
    graph = prunella.trace(model, example)
    plan = prunella.Plan.from_kept(graph, kept)
    return plan, plan.apply(model)


def samples(shape: tuple[int, ...], n: int = 150, size: int = 64) -> list[torch.Tensor]:
    inputs = torch.randn(n, *shape, generator=torch.Generator().manual_seed(6))
    return list(inputs.split(size))


def relative(original: torch.Tensor, small: torch.Tensor) -> torch.Tensor:
    original, small = original.double().flatten(1), small.double().flatten(1)
    return (small - original).norm(dim=1) / original.norm(dim=1)


@torch.no_grad()
def test_bounds_are_those_of_the_outputs_on_the_channels_that_stay() -> None:
    torch.manual_seed(0)
    model = Net().eval()
    plan, small = made(model, torch.zeros(1, 1, 4, 4), {"first": [0, 2, 3, 5], "second": [1, 2, 4]})
    loader = samples((1, 4, 4))
    found = prunella.certify(model, small, loader, layers=plan)
    inputs = torch.cat(loader)
    before = model.second(torch.relu(model.first(inputs)))
    after = small.second(torch.relu(small.first(inputs)))
    errors = {
        "second": relative(before[:, [1, 2, 4]], after),
        "last": relative(model(inputs), small(inputs)),
    }
    assert [bound.name for bound in found.layers] == ["second", "last"]
    for bound in found.layers:
        expected = tolerance_limit(errors[bound.name].numpy(), 0.05, 0.005)
        assert bound.error_bound == pytest.approx(expected, rel=1e-5)
        assert bound.error_bound > 0.01
        assert bound.samples_needed == samples_needed(0.05, 0.005) == 104
    # the last layer gives the logits, whose bound takes the whole of delta
    assert found.layers[1].error_bound >= found.logit_error_bound
    assert any("2 layers count as one: each holds with delta / 2" in t for t in found.assumptions)
    assert any("all 3 together" in text for text in found.assumptions)
    assert prunella.Certificate.from_json(found.to_json()) == found
    again = prunella.verify_certificate(found.to_json(), model, small, loader, layers=plan)
    assert again.matches
    with pytest.raises(InputError, match="give the plan of the small network as `layers`"):
        prunella.verify_certificate(found.to_json(), model, small, loader)
    hooks = [m._forward_hooks for net in (model, small) for m in net.modules()]
    assert not any(hooks)


def test_too_few_samples_for_layers_say_how_many_are_needed() -> None:
    torch.manual_seed(0)
    model = Net().eval()
    plan, small = made(model, torch.zeros(1, 1, 4, 4), {"first": [0, 2], "second": [1, 2, 4]})
    found = prunella.certify(model, small, samples((1, 4, 4), n=95), layers=plan)
    assert [bound.error_bound for bound in found.layers] == [None, None]
    assert found.logit_error_bound is not None
    assert "how far the outputs of layers differ (at least 104 are needed)" in found.statement


@torch.no_grad()
def test_of_several_runs_of_a_layer_the_largest_error_counts() -> None:
    torch.manual_seed(1)
    model = Twice().eval()
    graph = prunella.trace(model, torch.zeros(1, 4))
    (group,) = graph.prunable
    plan = prunella.Plan.from_kept(graph, {group.name: [0, 1, 4]})
    small = plan.apply(model)
    loader = samples((4,))
    found = prunella.certify(model, small, loader, layers=plan)
    inputs = torch.cat(loader)
    runs = [
        relative(
            model.both(torch.relu(getattr(model, name)(inputs))),
            small.both(torch.relu(getattr(small, name)(inputs))),
        )
        for name in ("one", "two")
    ]
    expected = tolerance_limit(torch.maximum(*runs).numpy(), 0.05, 0.01)
    assert [bound.name for bound in found.layers] == ["both"]
    assert found.layers[0].error_bound == pytest.approx(expected, rel=1e-5)
    assert "the output of both differs by at most" in found.statement


def test_outputs_without_the_sample_as_first_axis_cannot_be_compared() -> None:
    torch.manual_seed(1)
    model = Folded().eval()
    plan, small = made(model, torch.zeros(1, 8), {"one": [0, 1, 4]})
    with pytest.raises(InputError, match="none of the 1 layers that read cut channels could be"):
        prunella.certify(model, small, samples((8,)), layers=plan)


def test_another_plan_is_refused() -> None:
    torch.manual_seed(0)
    model = Net().eval()
    example = torch.zeros(1, 1, 4, 4)
    _, small = made(model, example, {"first": [0, 2], "second": [1, 2]})
    plan, _ = made(model, example, {"first": [0, 2], "second": [1, 2, 4]})
    with pytest.raises(InputError, match=r"'second' has 2 outputs in the small .* leaves 3 of 5"):
        prunella.certify(model, small, samples((1, 4, 4)), layers=plan)
    whole, copy = made(model, example, {})
    with pytest.raises(InputError, match="no linear layer or convolution reads a cut group"):
        prunella.certify(model, copy, samples((1, 4, 4)), layers=whole)
