"""Densely connected networks for 32 x 32 images.

Source: Huang, Liu, van der Maaten, Weinberger, "Densely connected convolutional networks", CVPR
2017, section 3, the basic form: no bottleneck, no compression, no dropout, growth 12, a first
convolution of 16 filters, three dense blocks of n layers each; depth 3 n + 4.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_GROWTH = 12
_STEM = 16


class DenseLayer(nn.Module):
    """Adds `growth` new channels to its input; maps (N, C, H, W) to (N, C + growth, H, W)."""

    def __init__(self, in_channels: int, growth: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(in_channels)
        self.relu = nn.ReLU()
        self.conv = nn.Conv2d(in_channels, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, C, H, W) -> (N, C + growth, H, W); the input comes first."""
        return torch.cat([x, self.conv(self.relu(self.bn(x)))], dim=1)


class Transition(nn.Module):
    """Mixes the channels and halves the image; maps (N, C, H, W) to (N, C, H / 2, W / 2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.conv = nn.Conv2d(channels, channels, 1, bias=False)
        self.pool = nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, C, H, W) -> (N, C, H / 2, W / 2)."""
        y: Tensor = self.pool(self.conv(self.relu(self.bn(x))))
        return y


class DenseNet(nn.Module):
    """CIFAR-style dense network; maps images (N, in_channels, H, W) to logits (N, classes)."""

    def __init__(self, depth: int, *, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        if depth < 7 or (depth - 4) % 3:
            raise ValueError(f"depth must be 3 n + 4 with n >= 1, got {depth}")
        layers = (depth - 4) // 3
        added = layers * _GROWTH
        self.conv1 = nn.Conv2d(in_channels, _STEM, 3, padding=1, bias=False)
        self.block1 = _block(_STEM, layers)
        self.transition1 = Transition(_STEM + added)
        self.block2 = _block(_STEM + added, layers)
        self.transition2 = Transition(_STEM + 2 * added)
        self.block3 = _block(_STEM + 2 * added, layers)
        width = _STEM + 3 * added
        self.bn = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(width, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, in_channels, H, W) -> (N, num_classes); H and W are multiples of 4."""
        x = self.transition1(self.block1(self.conv1(x)))
        x = self.block3(self.transition2(self.block2(x)))
        logits: Tensor = self.fc(self.pool(self.relu(self.bn(x))).flatten(1))
        return logits


def _block(in_channels: int, layers: int) -> nn.Sequential:
    return nn.Sequential(*(DenseLayer(in_channels + i * _GROWTH, _GROWTH) for i in range(layers)))


def densenet22(*, num_classes: int = 10, in_channels: int = 3) -> DenseNet:
    """DenseNet-22: 270,706 parameters and 72.9 M multiply-adds on a 3 x 32 x 32 image."""
    return DenseNet(22, num_classes=num_classes, in_channels=in_channels)


def densenet40(*, num_classes: int = 10, in_channels: int = 3) -> DenseNet:
    """DenseNet-40: 1,019,722 parameters and 264.8 M multiply-adds on a 3 x 32 x 32 image."""
    return DenseNet(40, num_classes=num_classes, in_channels=in_channels)
