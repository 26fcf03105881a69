"""Make trained neural networks small, with a guarantee."""

__version__ = "0.1.0.dev0"
