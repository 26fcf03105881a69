"""The two LeNets of the pruning literature, for images of 28 x 28 pixels.

Sources: LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document recognition",
Proceedings of the IEEE 86(11), 1998, for the 300-100 network; for the convolutional one the widths
of the Caffe variant (20, 50, 500), which is what "LeNet-5" means in papers on pruning since Han et
al., "Learning both weights and connections for efficient neural networks", NeurIPS 2015. Caffe's
example has no activation after its convolutions; here a ReLU follows each, as the bounds of
sampling-based pruning are stated for ReLU networks. That changes neither size nor cost.
"""

from __future__ import annotations

from torch import Tensor, nn


class LeNet300(nn.Module):
    """Two hidden layers of 300 and 100 units on the flattened image of 28 x 28 pixels."""

    def __init__(self, *, num_classes: int = 10, in_channels: int = 1) -> None:
        super().__init__()
        self.fc1 = nn.Linear(in_channels * 28 * 28, 300)
        self.fc2 = nn.Linear(300, 100)
        self.fc3 = nn.Linear(100, num_classes)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, in_channels, 28, 28) -> (N, num_classes)."""
        x = self.relu(self.fc1(x.flatten(1)))
        logits: Tensor = self.fc3(self.relu(self.fc2(x)))
        return logits


class LeNet5(nn.Module):
    """Two unpadded 5 x 5 convolutions with max pooling, then two linear layers."""

    def __init__(self, *, num_classes: int = 10, in_channels: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 20, 5)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.pool = nn.MaxPool2d(2)
        self.relu = nn.ReLU()
        # 28 -> 24 -> 12 -> 8 -> 4 pixels on a side
        self.fc1 = nn.Linear(50 * 4 * 4, 500)
        self.fc2 = nn.Linear(500, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, in_channels, 28, 28) -> (N, num_classes)."""
        x = self.pool(self.relu(self.conv1(x)))
        x = self.pool(self.relu(self.conv2(x)))
        logits: Tensor = self.fc2(self.relu(self.fc1(x.flatten(1))))
        return logits


def lenet300_100(*, num_classes: int = 10, in_channels: int = 1) -> LeNet300:
    """LeNet-300-100: 266,610 parameters and 266,200 multiply-adds on a 1 x 28 x 28 image."""
    return LeNet300(num_classes=num_classes, in_channels=in_channels)


def lenet5(*, num_classes: int = 10, in_channels: int = 1) -> LeNet5:
    """LeNet-5 (Caffe): 431,080 parameters, 2,293,000 multiply-adds on a 1 x 28 x 28 image."""
    return LeNet5(num_classes=num_classes, in_channels=in_channels)
