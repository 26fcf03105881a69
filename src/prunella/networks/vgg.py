"""VGG-16 with batch norm for 32 x 32 images.

Sources: Simonyan, Zisserman, "Very deep convolutional networks for large-scale image recognition",
ICLR 2015, configuration D for the convolutions; Li, Kadav, Durdanovic, Samet, Graf, "Pruning
filters for efficient convnets", ICLR 2017, section 4.1 for the head of one hidden layer of 512
units with batch norm, which suits ten classes.
"""

from __future__ import annotations

from torch import Tensor, nn

_STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # width, convolutions


class VGG(nn.Module):
    """Thirteen 3 x 3 convolutions in five stages that each halve the image, then two linear layers.

    Takes images of 32 x 32 pixels: five halvings leave one pixel.
    """

    def __init__(self, *, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = in_channels
        for out, convolutions in _STAGES:
            for _ in range(convolutions):
                layers += [
                    nn.Conv2d(width, out, 3, padding=1, bias=False),
                    nn.BatchNorm2d(out),
                    nn.ReLU(),
                ]
                width = out
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(width, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, num_classes)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: (N, in_channels, 32, 32) -> (N, num_classes)."""
        logits: Tensor = self.classifier(self.features(x).flatten(1))
        return logits


def vgg16_bn(*, num_classes: int = 10, in_channels: int = 3) -> VGG:
    """VGG-16: 14,987,722 parameters and 313.5 M multiply-adds on a 3 x 32 x 32 image."""
    return VGG(num_classes=num_classes, in_channels=in_channels)
