"""Networks of the papers' protocols, each a plain `nn.Module` built by a factory function.

On the command line they are named by factory: `resnet20`, or in full `prunella.networks:resnet20`.
"""

from prunella.networks.densenet import densenet22, densenet40
from prunella.networks.lenet import lenet5, lenet300_100
from prunella.networks.resnet import resnet20, resnet56, resnet110
from prunella.networks.vgg import vgg16_bn
from prunella.networks.wrn import wrn16_8

__all__ = [
    "densenet22",
    "densenet40",
    "lenet5",
    "lenet300_100",
    "resnet20",
    "resnet56",
    "resnet110",
    "vgg16_bn",
    "wrn16_8",
]
