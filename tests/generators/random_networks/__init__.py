"""Random networks: drawn as plain data, then built, then cut and compared with their mask."""

from random_networks.checking import Outcome, check
from random_networks.drawing import draw_network
from random_networks.network import Network, Step, build, inputs_of

__all__ = ["Network", "Outcome", "Step", "build", "check", "draw_network", "inputs_of"]
