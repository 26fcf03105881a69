"""Splits by numbers that a module keeps: the numbers follow a cut."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import prunella
from prunella.core.errors import FileError, InputError
from prunella.files.plans import plan_from_json, plan_to_json


class CrossStage(nn.Module):
    """Half of the channels go through a block; the code counts all of them by an attribute."""

    def __init__(self):
        super().__init__()
        self.expand_chs = 12
        self.expand = nn.Conv2d(3, 12, 1)
        self.block = nn.Conv2d(6, 6, 3, padding=1)
        self.last = nn.Conv2d(12, 2, 1)

    def forward(self, x):
        a, b = F.relu(self.expand(x)).split(self.expand_chs // 2, dim=1)
        return self.last(torch.cat([F.relu(self.block(a)), b], 1))


def test_number_of_all_channels_follows():
    model = CrossStage()
    graph = prunella.trace(model, torch.randn(1, 3, 5, 5))
    assert [g.name for g in graph.prunable] == ["expand[0:]", "expand[6:]", "block"]
    kept = {"expand[0:]": [0, 2, 4, 5], "expand[6:]": [0, 1, 2, 3], "block": [1, 3]}
    small = prunella.Plan.from_kept(graph, kept).apply(model)
    assert (small.expand_chs, model.expand_chs) == (8, 12)
    assert small.expand.weight.shape[0] == 8


class Gated(nn.Module):
    """One part gates the two others, of which one is convolved; their sizes are a tuple."""

    def __init__(self):
        super().__init__()
        self.sizes = (10, 7, 3)
        self.read = nn.Linear(4, 20)
        self.conv = nn.Conv1d(3, 3, 3, padding=1, groups=3)
        self.last = nn.Linear(10, 2)

    def forward(self, x):  # (N, L, 4)
        gate, plain, seen = torch.split(self.read(x), self.sizes, dim=-1)
        seen = self.conv(seen.mT).mT
        return self.last(F.gelu(gate) * torch.cat([plain, seen], -1))


def test_sizes_of_unequal_parts_follow():
    model = Gated()
    graph = prunella.trace(model, torch.randn(1, 5, 4))
    assert sorted(g.size for g in graph.prunable) == [3, 7]
    by_size = {g.size: g.name for g in graph.prunable}
    plan = prunella.Plan.from_kept(graph, {by_size[7]: [0, 3, 5, 6], by_size[3]: [0, 2]})
    small = plan.apply(model)
    assert small.sizes == (6, 4, 2)
    assert model.sizes == (10, 7, 3)
    again = plan_from_json(plan_to_json(plan), source="it").apply(Gated())
    assert again.sizes == (6, 4, 2)
    # What was cut can be cut once more.
    graph = prunella.trace(small, torch.randn(1, 5, 4))
    names = {g.size: g.name for g in graph.prunable}
    smaller = prunella.Plan.from_kept(graph, {names[4]: [1]}).apply(small)
    assert smaller.sizes == (3, 1, 2)


class PartlyConvolved(nn.Module):
    """The sizes of the two parts are attributes of their own."""

    def __init__(self):
        super().__init__()
        self.dim_conv, self.dim_rest = 3, 5
        self.read = nn.Conv2d(2, 8, 1)
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.last = nn.Conv2d(9, 2, 1)

    def forward(self, x):
        a, b = torch.split(self.read(x), [self.dim_conv, self.dim_rest], dim=1)
        return self.last(torch.cat([self.conv(a), b], 1))


def test_parts_counted_by_numbers_of_their_own():
    model = PartlyConvolved()
    graph = prunella.trace(model, torch.randn(1, 2, 4, 4))
    names = {g.size: g.name for g in graph.prunable}
    assert sorted(names) == [3, 4, 5]
    kept = {names[3]: [0], names[5]: [1, 2]}
    small = prunella.Plan.from_kept(graph, kept).apply(model)
    assert (small.dim_conv, small.dim_rest) == (1, 2)


class UnequalByNumbers(nn.Module):
    """Parts of sizes that stand nowhere but in the code; one number fits another by chance."""

    def __init__(self):
        super().__init__()
        self.heads = 3
        self.read = nn.Linear(4, 8)
        self.last = nn.Linear(5, 2)

    def forward(self, x):
        a, b = self.read(x).split([3, 5], dim=-1)
        return self.last(b) + a.mean(-1, keepdim=True)


def test_unequal_parts_without_numbers_are_frozen():
    graph = prunella.trace(UnequalByNumbers(), torch.randn(1, 4))
    assert not graph.prunable
    reasons = [g.reason for g in graph.groups if g.name.startswith("read[")]
    assert any(reason.startswith("parts of fixed, unequal size (split_with") for reason in reasons)


class FixedUnequal(UnequalByNumbers):
    """The module has such numbers, but the code does not use them."""

    def __init__(self):
        super().__init__()
        self.sizes = [3, 5]


def test_numbers_that_the_code_does_not_use_are_no_help():
    model = FixedUnequal()
    graph = prunella.trace(model, torch.randn(1, 4))
    assert not graph.prunable
    assert any("read" in g.name and "cannot follow a cut" in g.reason for g in graph.groups)


class Kernels(nn.Module):
    """Paths with kernels of their own are chosen by a softmax over the paths."""

    def __init__(self):
        super().__init__()
        self.out_channels, self.in_channels, self.num_paths = 8, 8, 2
        self.paths = nn.ModuleList(nn.Conv2d(4, 8, k, padding=k // 2) for k in (1, 3))
        self.reduce, self.select = nn.Linear(8, 3), nn.Linear(3, 16)

    def forward(self, x):
        parts = torch.split(x, self.in_channels // self.num_paths, 1)
        x = torch.stack([path(part) for path, part in zip(self.paths, parts, strict=True)], 1)
        scores = self.select(F.relu(self.reduce(x.sum(1).mean((2, 3)))))
        shares = scores.view(len(x), self.num_paths, -1).softmax(1)
        return (x * shares[..., None, None]).sum(1)


class SelectiveKernels(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.kernels = nn.Conv2d(3, 8, 1), Kernels()
        self.last = nn.Conv2d(8, 2, 1)

    def forward(self, x):
        return self.last(F.relu(self.kernels(F.relu(self.first(x)))))


def test_only_the_number_that_is_split_by_follows():
    model, example = SelectiveKernels(), torch.randn(1, 3, 5, 5)
    graph = prunella.trace(model, example)
    kept = {"first[0:]": [0, 3], "first[4:]": [1, 2], "kernels.paths.0": [0, 1, 2, 5, 7]}
    small = prunella.Plan.from_kept(graph, kept).apply(model)
    assert (small.kernels.in_channels, small.kernels.out_channels) == (4, 8)
    assert small.kernels.select.out_features == 10
    assert "kernels.reduce" in {g.name for g in graph.prunable}


class SplitByShape(nn.Module):
    """The code asks the tensor for its width; a number of the same size means something else."""

    def __init__(self):
        super().__init__()
        self.scale = 8
        self.read, self.last = nn.Linear(4, 8), nn.Linear(4, 2)

    def forward(self, x):
        a, b = self.read(x).chunk(2, dim=-1)
        return self.last(a * b) / self.scale


def test_numbers_that_need_not_follow_stay():
    model = SplitByShape()
    graph = prunella.trace(model, torch.randn(1, 4))
    (group,) = graph.prunable
    small = prunella.Plan.from_kept(graph, {group.name: [0, 1]}).apply(model)
    assert small.scale == 8
    assert not group.widths


class Both(nn.Module):
    """One module needs its number changed, the other only has one of the same size."""

    def __init__(self):
        super().__init__()
        self.stage, self.by_shape = CrossStage(), SplitByShape()

    def forward(self, x):
        return self.stage(x).mean((2, 3)) + self.by_shape(x.mean((2, 3)).repeat(1, 2)[:, :4])


def test_only_modules_that_fail_have_a_number_changed():
    model = Both()
    graph = prunella.trace(model, torch.randn(1, 3, 5, 5))
    kept = {g.name: [0, 1] for g in graph.prunable if g.name.startswith(("stage", "by_shape"))}
    small = prunella.Plan.from_kept(graph, kept).apply(model)
    assert (small.stage.expand_chs, small.by_shape.scale) == (4, 8)


def test_model_without_the_number():
    graph = prunella.trace(CrossStage(), torch.randn(1, 3, 5, 5))
    plan = prunella.Plan.from_kept(graph, {"expand[0:]": [0], "expand[6:]": [0]})
    other = CrossStage()
    other.expand_chs = 12.0
    with pytest.raises(InputError, match="counts on a number 'expand_chs' that the given"):
        plan.apply(other)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (["expand_chs", -1], "has 2 entries|expected 3"),
        ([7, -1, 1], "the name is 7, expected text"),
        (["expand_chs", -2, 1], "the place is -2"),
        (["expand_chs", -1, -1], "the step is -1"),
    ],
)
def test_damaged_numbers_in_a_plan(row, words):
    graph = prunella.trace(CrossStage(), torch.randn(1, 3, 5, 5))
    data = json.loads(plan_to_json(prunella.Plan.from_kept(graph, {})))
    group = next(group for group in data["graph"]["groups"] if group["widths"])
    group["widths"] = [row]
    with pytest.raises(FileError, match=words):
        plan_from_json(json.dumps(data), source="it")
