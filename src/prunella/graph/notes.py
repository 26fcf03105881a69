"""What a run notes beside the labels themselves."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """The block of labels of one axis of one stored tensor: first, first + 1, ..."""

    tensor: str
    axis: int
    first: int
    size: int


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Heads:
    """Equal blocks of one activation axis that were contracted one by one, as attention does.

    Attributes:
        module: Dotted name of the module that did it.
        labels: (heads,) one label of each head.
        width: Positions of one head.
    """

    module: str
    labels: Tensor
    width: int


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Product:
    """A product of two activations; the work goes down with the channels that it is done for.

    Attributes:
        labels: (positions,) labels that do equal shares of it.
        macs: Multiply-adds.
    """

    labels: Tensor
    macs: int


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Later:
    """A parameter that meets different channels at one position; decided at the end of the run.

    Attributes:
        result: Labels of the channels.
        wide: The parameter's labels in the same shape.
        layer: The parameter's labels in its own shape.
        axes: Axes of the result along which the parameter extends.
        reason: Why the parameter's axis is frozen if no channels are left along it.
    """

    result: Tensor
    wide: Tensor
    layer: Tensor
    axes: list[int]
    reason: str
