"""Networks of the papers' protocols, each a plain `nn.Module` built by a factory function.

On the command line they are named by factory: `resnet20`, or in full `prunella.networks:resnet20`.
"""

from prunella.networks.resnet import resnet20, resnet56, resnet110

__all__ = ["resnet20", "resnet56", "resnet110"]
