"""Residual networks for 32 x 32 images.

Source: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2:
a 3 x 3 stem of 16 filters, three stages of n basic blocks with 16, 32 and 64 filters, global
average pooling and one linear layer; depth 6 n + 2. Where a stage changes the width, the shortcut
is a 1 x 1 convolution with batch norm (option B of the paper), so that the residual stream can be
pruned as well; this adds 2,752 parameters to the parameter-free shortcut.
"""

from __future__ import annotations

from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut; maps (N, C, H, W) to (N, out, H / s, W / s)."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, C, H, W) -> (N, out, H / stride, W / stride)."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        out: Tensor = self.relu(y + self.shortcut(x))
        return out


class ResNet(nn.Module):
    """CIFAR-style residual network; maps images (N, in_channels, H, W) to logits (N, classes)."""

    def __init__(self, depth: int, *, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"depth must be 6 n + 2 with n >= 1, got {depth}")
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        self.layer1 = _stage(16, 16, blocks, stride=1)
        self.layer2 = _stage(16, 32, blocks, stride=2)
        self.layer3 = _stage(32, 64, blocks, stride=2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, in_channels, H, W) -> (N, num_classes)."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.fc(self.pool(x).flatten(1))
        return logits


def _stage(in_channels: int, out_channels: int, blocks: int, *, stride: int) -> nn.Sequential:
    first = BasicBlock(in_channels, out_channels, stride=stride)
    rest = [BasicBlock(out_channels, out_channels) for _ in range(blocks - 1)]
    return nn.Sequential(first, *rest)


def resnet20(*, num_classes: int = 10, in_channels: int = 3) -> ResNet:
    """ResNet-20: 272,474 parameters and 40.8 M multiply-adds on a 3 x 32 x 32 image."""
    return ResNet(20, num_classes=num_classes, in_channels=in_channels)


def resnet56(*, num_classes: int = 10, in_channels: int = 3) -> ResNet:
    """ResNet-56: 855,770 parameters and 125.7 M multiply-adds on a 3 x 32 x 32 image."""
    return ResNet(56, num_classes=num_classes, in_channels=in_channels)


def resnet110(*, num_classes: int = 10, in_channels: int = 3) -> ResNet:
    """ResNet-110: 1,730,714 parameters and 253.1 M multiply-adds on a 3 x 32 x 32 image."""
    return ResNet(110, num_classes=num_classes, in_channels=in_channels)
