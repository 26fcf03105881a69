"""Size and cost of the networks, counted three ways: by torch, by hand, and from the literature."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from prunella import networks


@dataclass(frozen=True)
class Count:
    """Parameters and multiply-adds; sums over layers."""

    params: int = 0
    macs: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(self.params + other.params, self.macs + other.macs)


def conv(cin: int, cout: int, kernel: int, side: int, *, bias: bool = False) -> Count:
    weights = cin * cout * kernel * kernel
    return Count(weights + bias * cout, weights * side * side)


def norm(channels: int) -> Count:
    return Count(2 * channels, 0)


def linear(cin: int, cout: int) -> Count:
    return Count(cin * cout + cout, cin * cout)


def by_hand_lenet300(classes: int, channels: int) -> Count:
    return linear(784 * channels, 300) + linear(300, 100) + linear(100, classes)


def by_hand_lenet5(classes: int, channels: int) -> Count:
    convs = conv(channels, 20, 5, 24, bias=True) + conv(20, 50, 5, 8, bias=True)
    return convs + linear(800, 500) + linear(500, classes)


def by_hand_resnet(depth: int) -> Callable[[int, int], Count]:
    n = (depth - 2) // 6

    def count(classes: int, channels: int) -> Count:
        total = conv(channels, 16, 3, 32) + norm(16) + linear(64, classes)
        for width, side in ((16, 32), (32, 16), (64, 8)):
            first = width if width == 16 else width // 2
            total += conv(first, width, 3, side) + norm(width)
            for _ in range(2 * n - 1):
                total += conv(width, width, 3, side) + norm(width)
            if first != width:
                total += conv(first, width, 1, side) + norm(width)
        return total

    return count


def by_hand_vgg16(classes: int, channels: int) -> Count:
    total = linear(512, 512) + norm(512) + linear(512, classes)
    cin = channels
    for i, width in enumerate([64, 64, 128, 128, 256, 256, 256] + [512] * 6):
        side = [32, 32, 16, 16, 8, 8, 8, 4, 4, 4, 2, 2, 2][i]
        total += conv(cin, width, 3, side) + norm(width)
        cin = width
    return total


def by_hand_densenet(depth: int) -> Callable[[int, int], Count]:
    n = (depth - 4) // 3

    def count(classes: int, channels: int) -> Count:
        total = conv(channels, 16, 3, 32)
        width = 16
        for side in (32, 16, 8):
            for _ in range(n):
                total += norm(width) + conv(width, 12, 3, side)
                width += 12
            if side > 8:
                total += norm(width) + conv(width, width, 1, side)
        return total + norm(width) + linear(width, classes)

    return count


def by_hand_wrn16_8(classes: int, channels: int) -> Count:
    total = conv(channels, 16, 3, 32)
    cin = 16
    for width, side in ((128, 32), (256, 16), (512, 8)):
        # first block: normalises its input, and its shortcut is a 1 x 1 convolution
        total += norm(cin) + conv(cin, width, 3, side) + norm(width)
        total += conv(width, width, 3, side) + conv(cin, width, 1, side)
        for _ in range(2):  # second block
            total += norm(width) + conv(width, width, 3, side)
        cin = width
    return total + norm(512) + linear(512, classes)


@dataclass(frozen=True)
class Expected:
    """Exact counts for the defaults, and the rounded figure that the literature gives."""

    params: int
    macs: int
    by_hand: Callable[[int, int], Count]
    published_params: float
    tolerance: float = 0.02
    published_macs: float | None = None
    in_channels: int = 3
    side: int = 32


EXPECTED = {
    # LeCun et al. 1998 and the pruning papers since Han et al. 2015: 267k and 431k parameters;
    # LeNet-5 (Caffe) 2.29 M multiply-adds (Han et al. count 4,586k operations, two for each).
    "lenet300_100": Expected(
        266_610, 266_200, by_hand_lenet300, 267e3, in_channels=1, side=28, published_macs=266e3
    ),
    "lenet5": Expected(
        431_080, 2_293_000, by_hand_lenet5, 431e3, in_channels=1, side=28, published_macs=2.293e6
    ),
    # He et al. 2016, table 6: 0.27, 0.85 and 1.7 M; Li et al. 2017, table 1, give 1.25e8 and 2.53e8
    # operations for ResNet-56 and -110. Ours have projection shortcuts, which add 2,752 parameters.
    "resnet20": Expected(272_474, 40_813_184, by_hand_resnet(20), 0.27e6),
    "resnet56": Expected(855_770, 125_747_840, by_hand_resnet(56), 0.85e6, published_macs=1.25e8),
    "resnet110": Expected(
        1_730_714, 253_149_824, by_hand_resnet(110), 1.7e6, published_macs=2.53e8
    ),
    # Li et al. 2017, table 1: 1.5e7 parameters, 3.13e8 operations.
    "vgg16_bn": Expected(14_987_722, 313_463_808, by_hand_vgg16, 1.5e7, published_macs=3.13e8),
    # Huang et al. 2017, table 2: depth 40 and growth 12 have 1.0 M; they do not list depth 22, for
    # which 0.27 M follows from the same construction.
    "densenet22": Expected(270_706, 72_906_000, by_hand_densenet(22), 0.27e6),
    "densenet40": Expected(1_019_722, 264_812_928, by_hand_densenet(40), 1.0e6),
    # Zagoruyko & Komodakis 2016, table 4: 11.0 M for depth 16, widen factor 8.
    "wrn16_8": Expected(10_961_370, 1_548_145_664, by_hand_wrn16_8, 11.0e6),
}

everyone = pytest.mark.parametrize("name", EXPECTED)


def build(name: str, **options: int) -> nn.Module:
    with torch.device("meta"):  # shapes without storage or arithmetic
        model: nn.Module = getattr(networks, name)(**options)
    return model.eval()


def torch_macs(model: nn.Module, image: Tensor) -> int:
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(image)
    flops = counter.get_total_flops()
    assert flops % 2 == 0
    return flops // 2


def meta_image(name: str, channels: int | None = None) -> Tensor:
    want = EXPECTED[name]
    return torch.empty(1, channels or want.in_channels, want.side, want.side, device="meta")


def param_count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_every_network_is_counted() -> None:
    assert set(EXPECTED) == set(networks.__all__)


@everyone
def test_parameters(name: str) -> None:
    want = EXPECTED[name]
    assert param_count(build(name)) == want.params
    assert want.by_hand(10, want.in_channels).params == want.params


@everyone
def test_macs_by_torch(name: str) -> None:
    assert torch_macs(build(name), meta_image(name)) == EXPECTED[name].macs


@everyone
def test_macs_by_hand(name: str) -> None:
    want = EXPECTED[name]
    assert want.by_hand(10, want.in_channels).macs == want.macs


@everyone
def test_agrees_with_the_literature(name: str) -> None:
    want = EXPECTED[name]
    assert want.params == pytest.approx(want.published_params, rel=want.tolerance)
    if want.published_macs is not None:
        assert want.macs == pytest.approx(want.published_macs, rel=want.tolerance)


@pytest.mark.parametrize("name", ["resnet20", "resnet56", "resnet110"])
def test_projection_shortcuts_add_2752_parameters(name: str) -> None:
    model = build(name)
    added = sum(p.numel() for n, p in model.named_parameters() if ".shortcut." in n)
    assert added == 2_752


@everyone
def test_docstring_states_the_counts(name: str) -> None:
    text = getattr(networks, name).__doc__
    numbers = [
        float(n.replace(",", "")) for n in re.findall(r"\d[\d,]*\.?\d*(?= (?:par|mul|M))", text)
    ]
    want = EXPECTED[name]
    assert numbers[0] == want.params
    exact = "M multiply-adds" not in text
    assert numbers[1] == (want.macs if exact else round(want.macs / 1e6, 1))


@everyone
def test_other_classes_and_channels(name: str) -> None:
    model = build(name, num_classes=7, in_channels=2)
    image = meta_image(name, 2)
    assert model(image).shape == (1, 7)
    want = EXPECTED[name].by_hand(7, 2)
    assert param_count(model) == want.params
    assert torch_macs(model, image) == want.macs


@pytest.mark.parametrize("name", ["lenet300_100", "lenet5", "resnet20", "densenet22", "vgg16_bn"])
def test_trains_and_gives_finite_logits(name: str) -> None:
    want = EXPECTED[name]
    model = getattr(networks, name)()
    image = torch.randn(
        2, want.in_channels, want.side, want.side, generator=torch.Generator().manual_seed(0)
    )
    logits = model(image)
    assert logits.shape == (2, 10)
    assert logits.isfinite().all()
    logits.square().sum().backward()
    # a parameter that takes no part in the output would have no gradient
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_dense_layer_keeps_its_input_first() -> None:
    from prunella.networks.densenet import DenseLayer

    layer = DenseLayer(5, 12).eval()
    x = torch.randn(2, 5, 4, 4, generator=torch.Generator().manual_seed(1))
    y = layer(x)
    assert y.shape == (2, 17, 4, 4)
    assert torch.equal(y[:, :5], x)


def test_wide_block_is_the_identity_without_its_branch() -> None:
    from prunella.networks.wrn import PreActivationBlock

    x = torch.randn(2, 8, 4, 4, generator=torch.Generator().manual_seed(2))
    same = PreActivationBlock(8, 8, stride=1).eval()
    nn.init.zeros_(same.conv2.weight)
    assert torch.equal(same(x), x)  # raw input, not its ReLU
    wider = PreActivationBlock(8, 16, stride=2).eval()
    nn.init.zeros_(wider.conv2.weight)
    assert wider.shortcut is not None
    assert torch.equal(wider(x), wider.shortcut(wider.relu(wider.bn1(x))))


@pytest.mark.parametrize(
    ("module", "cls", "args", "rule"),
    [
        ("densenet", "DenseNet", (23,), "3 n"),
        ("wrn", "WideResNet", (17, 8), "6 n"),
        ("resnet", "ResNet", (21,), "6 n"),
    ],
)
def test_impossible_depth_is_refused(
    module: str, cls: str, args: tuple[int, ...], rule: str
) -> None:
    import importlib

    make = getattr(importlib.import_module(f"prunella.networks.{module}"), cls)
    with pytest.raises(ValueError, match=re.escape(f"depth must be {rule}")):
        make(*args)
