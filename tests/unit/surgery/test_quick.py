"""The quick comparison of large networks: as strict as the thorough one, on less work."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import prunella
from prunella.core.errors import SurgeryError
from prunella.core.inputs import Inputs
from prunella.surgery import masked, quick
from prunella.surgery import verify as verification
from prunella.surgery.apply import cut, stored_tensors, without
from prunella.surgery.masks import masked_at_inputs

CLOSE = 1e-4


class Readers(nn.Module):
    """Every way to read a channel: calls, grouped, tied, by the weight alone, without a layer."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3, padding=1)
        self.b = nn.Conv2d(8, 8, 3, groups=2, padding=1, padding_mode="circular")
        self.c = nn.Conv2d(8, 6, 1)
        self.into = nn.Linear(6, 10)
        self.again = nn.Linear(10, 10)
        self.tied = nn.Linear(10, 10)
        self.tied.weight = self.again.weight
        self.read = nn.Linear(10, 7)
        self.out = nn.Parameter(torch.randn(4, 7))

    def forward(self, x):
        x = self.c(self.b(self.a(x)).relu()).sigmoid().mean((2, 3))
        x = self.again(self.into(x)).relu() + self.tied(self.into(x))
        return F.linear(F.linear(x, self.read.weight, self.read.bias).relu(), self.out)


class Attention(nn.Module):
    """Patches of an image of one size, a stack of blocks, and what the first token gives."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 32, 4, stride=4)
        self.places = nn.Parameter(torch.randn(1, 64, 32))
        layer = nn.TransformerEncoderLayer(32, 4, 48, batch_first=True)
        self.blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(32, 5)
        self.lengths = []

    def forward(self, x):
        if x.shape[-1] != 32:
            raise ValueError("one size only")
        found = self.blocks(self.patches(x).flatten(2).mT + self.places)
        self.lengths.append(found.shape[1])
        return self.head(found[:, 0])


def convolutions():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, stride=2),
        nn.BatchNorm2d(12),
        nn.SiLU(),
        nn.Conv2d(12, 10, 3, stride=2),
        nn.AdaptiveAvgPool2d(3),
        nn.Flatten(),
        nn.Linear(90, 7),
        nn.SiLU(),
        nn.Linear(7, 4),
    )


def attention():
    torch.manual_seed(0)
    return Attention().eval()


def readers():
    torch.manual_seed(0)
    model = Readers()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    return model


CASES = {
    "convolutions": (convolutions, (1, 3, 160, 160)),
    "attention": (attention, (1, 3, 32, 32)),
    "readers": (readers, (1, 3, 12, 12)),
}


def planned(case):
    """The model, its graph and about half of every group at odd places."""
    build, shape = CASES[case]
    model = build()
    graph = prunella.trace(model, torch.randn(shape))
    kept = {g.name: torch.arange(g.size)[g.size // 3 :: 2] for g in graph.prunable}
    assert len(kept) > 1
    prunella.Plan.from_kept(graph, kept)
    return model, graph, kept


# -- masks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_masks_at_inputs_give_what_masks_in_weights_give(case):
    model, graph, kept = planned(case)
    model = model.double().eval()
    x = torch.randn(CASES[case][1]).double()
    expected = masked(model, graph, kept)(x)
    found = masked_at_inputs(model, graph, kept)(x)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert not torch.allclose(model(x), expected)


def test_masks_at_inputs_share_the_weights():
    model, graph, kept = planned("readers")
    found = masked_at_inputs(model, graph, kept)
    shared = {n for n, t in found.named_parameters() if t is dict(model.named_parameters())[n]}
    assert shared == {name for name, _ in model.named_parameters()} - {"out"}
    assert not torch.equal(found.again.weight, model.again.weight)  # for who reads it himself
    assert type(model.again) is nn.Linear
    assert isinstance(found.again, nn.Linear)


# -- small probes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "sides"),
    [(224, [64, 128]), (299, [64, 128]), (100, [64]), (150, [64, 128]), (64, []), (8, [])],
)
def test_images_are_cropped(side, sides):
    tokens = torch.zeros(2, 500, dtype=torch.long)
    inputs = Inputs.of((torch.zeros(2, 3, side, side), tokens))
    found = [smaller.args for smaller in quick.smaller_images(inputs)]
    assert [tuple(image.shape) for image, _ in found] == [(2, 3, n, n) for n in sides]
    assert all(left.shape == tokens.shape for _, left in found)


def test_sides_keep_what_they_are_divisible_by():
    for side in (96, 112, 200, 224, 256, 384):
        for smaller in quick.smaller_images(Inputs.of(torch.zeros(1, 3, side, side))):
            assert smaller.args[0].shape[2] % math.gcd(side, 32) == 0


@pytest.mark.parametrize("case", CASES)
def test_a_right_cut_passes_and_one_wrong_position_of_any_tensor_does_not(case):
    model, graph, kept = planned(case)
    small = cut(model, graph, kept)
    assert quick.quick_difference(model, small, graph, kept) < CLOSE / 10
    tensors = stored_tensors(model)
    for name, tensor in stored_tensors(small).items():
        if tensor.shape == tensors[name].shape or "running" in name:
            continue
        right = tensor.detach().clone()
        with torch.no_grad():
            tensor.copy_(right.roll(1, dims=0 if len(right) > 1 else 1))
            if not torch.equal(tensor, right):
                assert quick.quick_difference(model, small, graph, kept) > CLOSE, name
            tensor.copy_(right)


def test_stacks_of_blocks_go_on_with_a_few_tokens():
    model, graph, kept = planned("attention")
    model.lengths.clear()
    seen = []
    model.register_forward_hook(lambda module, args, out: seen.append(module.lengths[-1]))
    small = cut(model, graph, kept)
    assert quick.quick_difference(model, small, graph, kept) < CLOSE / 10
    assert seen == [16, 16]


def test_a_network_that_takes_no_other_size_is_compared_thoroughly(monkeypatch):
    class OneSize(nn.Module):
        def __init__(self):
            super().__init__()
            self.stack = nn.Sequential(*(nn.Sequential(nn.Linear(8, 8)) for _ in range(2)))
            self.out = nn.Linear(8, 3)

        def forward(self, x):
            return self.out(self.stack(x)).reshape(1, 60)

    model, example = OneSize(), torch.randn(1, 20, 8)
    graph = prunella.trace(model, example)
    kept = {group.name: torch.arange(0, group.size, 2) for group in graph.prunable}
    small = cut(model, graph, kept)
    assert math.isnan(quick.quick_difference(model, small, graph, kept))
    monkeypatch.setattr(verification, "_LARGE", 0)
    assert verification.verified_cut(model, graph, kept)[1] < CLOSE


def test_zeros_everywhere_say_nothing():
    model, graph, kept = planned("convolutions")
    for parameter in model[-1].parameters():
        nn.init.zeros_(parameter)
    assert math.isnan(quick.quick_difference(model, cut(model, graph, kept), graph, kept))


def test_large_networks_are_compared_quickly_and_small_ones_thoroughly(monkeypatch):
    model, graph, kept = planned("convolutions")
    calls = []
    right = verification.masked
    monkeypatch.setattr(verification, "masked", lambda *a: calls.append("slow") or right(*a))
    verification.verified_cut(model, graph, kept)
    assert calls == ["slow"]
    monkeypatch.setattr(verification, "_LARGE", 0)
    verification.verified_cut(model, graph, kept)
    assert calls == ["slow"]
    monkeypatch.setattr(verification, "quick_difference", lambda *a: 1.0)
    verification.verified_cut(model, graph, kept)  # the thorough one decides
    assert calls == ["slow", "slow"]


def test_a_wrong_cut_of_a_large_network_is_an_error(monkeypatch):
    from prunella.surgery import apply

    model, graph, kept = planned("convolutions")
    monkeypatch.setattr(verification, "_LARGE", 0)
    right = apply.complement
    monkeypatch.setattr(apply, "complement", lambda p, s: (right(p, s) + 1) % s)
    with pytest.raises(SurgeryError, match="differs from the masked original by"):
        verification.verified_cut(model, graph, kept)


def test_nothing_that_a_small_probe_leaves_behind_is_in_the_result(monkeypatch):
    class Remembers(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 2, 1)
            self.size = None

        def forward(self, x):
            if self.size is None:
                self.size = x.shape[-1]
            return self.b(self.a(x).relu())

    monkeypatch.setattr(verification, "_LARGE", 0)
    model, example = Remembers(), torch.randn(1, 3, 96, 96)
    graph = prunella.trace(model, example)
    kept = {"a": torch.tensor([0, 3, 4])}
    small, difference = verification.verified_cut(model, graph, kept)
    assert difference < CLOSE
    assert small.size is None
    assert model.size is None


# -- slices --------------------------------------------------------------------------------------


@pytest.mark.parametrize("stay", ["every third", "a stretch", "blocks", "one"])
@pytest.mark.parametrize("shape", [(1100, 1200), (1100, 30, 8, 8), (7, 5)])
def test_slices_hold_the_kept_positions(shape, stay):
    tensor = torch.arange(math.prod(shape), dtype=torch.float32).reshape(shape)

    def chosen(size):
        if stay == "every third":
            return torch.arange(0, size, 3)
        if stay == "a stretch":
            return torch.arange(size // 4, size // 2)
        if stay == "one":
            return torch.tensor([size - 1])
        return torch.tensor([p for p in range(size) if p // 5 % 2 == 0 or size < 10])

    for axes in ((0,), (1,), (0, 1)):
        stays = {axis: chosen(shape[axis]) for axis in axes}
        gone = {
            a: torch.tensor(sorted({*range(shape[a])} - {*s.tolist()})) for a, s in stays.items()
        }
        gone = {axis: positions.long() for axis, positions in gone.items()}
        expected = tensor
        for axis, positions in stays.items():
            expected = expected.index_select(axis, positions)
        found = without(nn.Parameter(tensor, requires_grad=False), gone)
        assert torch.equal(found, expected)
        assert found.is_contiguous()
        assert isinstance(found, nn.Parameter)
        assert not found.requires_grad
        assert found.untyped_storage().nbytes() == found.numel() * 4  # no view of the original
