"""Wide residual networks for 32 x 32 images.

Source: Zagoruyko, Komodakis, "Wide residual networks", BMVC 2016, table 1: a 3 x 3 stem of 16
filters and three stages of n pre-activation blocks with 16 k, 32 k and 64 k filters; depth 6 n + 4,
no dropout. Where a stage changes the width, the shortcut is a 1 x 1 convolution of the activated
input.
"""

from __future__ import annotations

from torch import Tensor, nn


class PreActivationBlock(nn.Module):
    """BN-ReLU-conv twice and a shortcut; maps (N, C, H, W) to (N, out, H / s, W / s)."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.relu = nn.ReLU()
        self.shortcut: nn.Conv2d | None = None
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, C, H, W) -> (N, out, H / stride, W / stride)."""
        active = self.relu(self.bn1(x))
        y: Tensor = self.conv2(self.relu(self.bn2(self.conv1(active))))
        # An unchanged width passes the raw input on, so that the stream stays free of activations.
        return y + (x if self.shortcut is None else self.shortcut(active))


class WideResNet(nn.Module):
    """CIFAR-style wide network; maps images (N, in_channels, H, W) to logits (N, classes)."""

    def __init__(
        self, depth: int, widen: int, *, num_classes: int = 10, in_channels: int = 3
    ) -> None:
        super().__init__()
        if depth < 10 or (depth - 4) % 6:
            raise ValueError(f"depth must be 6 n + 4 with n >= 1, got {depth}")
        blocks = (depth - 4) // 6
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.layer1 = _stage(16, 16 * widen, blocks, stride=1)
        self.layer2 = _stage(16 * widen, 32 * widen, blocks, stride=2)
        self.layer3 = _stage(32 * widen, 64 * widen, blocks, stride=2)
        self.bn = nn.BatchNorm2d(64 * widen)
        self.relu = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64 * widen, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, in_channels, H, W) -> (N, num_classes)."""
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        logits: Tensor = self.fc(self.pool(self.relu(self.bn(x))).flatten(1))
        return logits


def _stage(in_channels: int, out_channels: int, blocks: int, *, stride: int) -> nn.Sequential:
    first = PreActivationBlock(in_channels, out_channels, stride=stride)
    rest = [PreActivationBlock(out_channels, out_channels, stride=1) for _ in range(blocks - 1)]
    return nn.Sequential(first, *rest)


def wrn16_8(*, num_classes: int = 10, in_channels: int = 3) -> WideResNet:
    """WRN-16-8: 10,961,370 parameters and 1,548.1 M multiply-adds on a 3 x 32 x 32 image."""
    return WideResNet(16, 8, num_classes=num_classes, in_channels=in_channels)
