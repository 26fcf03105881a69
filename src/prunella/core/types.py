"""The data that flows between the stages; all of it frozen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from torch import Tensor

from prunella.core.inputs import Inputs
from prunella.core.samples import SampleIds

Role = Literal["producer", "carrier", "consumer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Size and work of a network.

    Attributes:
        params: Number of parameters; a tied parameter counts once.
        macs: Multiply-adds of convolutions and matrix products for the example inputs as given;
            with one sample in them this is the cost of one sample.
        bytes: Size of all parameters and buffers in their own types.
    """

    params: int
    macs: int
    bytes: int

    def fraction_of(self, other: Cost) -> tuple[float, float, float]:
        """This cost divided by another, as (params, macs, bytes)."""
        pairs = (self.params, other.params), (self.macs, other.macs), (self.bytes, other.bytes)
        params, macs, size = (a / b if b else 1.0 for a, b in pairs)
        return params, macs, size


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Member:
    """The positions along one axis of one tensor that belong to the units of a group.

    Attributes:
        tensor: Dotted name of a parameter or buffer.
        axis: Axis of that tensor.
        indices: int64, shape (size, k): unit u owns positions indices[u] along the axis.
        role: "producer" makes the channel, "carrier" carries it (batch norm, depthwise
            convolution), "consumer" reads it.
    """

    tensor: str
    axis: int
    indices: Tensor  # (size, k) int64
    role: Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Width:
    """A number that a module keeps beside its tensors and that goes down with removed units.

    Attributes:
        attribute: Dotted name, such as "stages.0.expand_chs".
        place: Position in a tuple or list of numbers; -1 for a number by itself.
        step: How much each removed unit takes off it.
    """

    attribute: str
    place: int
    step: int


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ChannelGroup:
    """Units of one kind: each can be removed, and takes all its members with it.

    Attributes:
        name: Stable, readable: the first layer that makes the channels.
        size: Number of units.
        prunable: Whether units may be removed.
        reason: Why not; "" if prunable.
        members: Where the units live.
        balance: Groups with the same name here, unless it is empty, keep equal numbers of units:
            they are parts that a split makes of one axis.
        heads: Dotted names of the modules that treat the units as heads of attention.
        product_macs: Multiply-adds of products of two activations, as in attention, of which
            every unit does an equal share.
        exact: False where units share the statistics of a normalisation with others: then the
            small network is not the masked one, and only shapes can be checked.
        widths: Numbers in the modules that have to follow.
    """

    name: str
    size: int
    prunable: bool
    reason: str
    members: tuple[Member, ...]
    balance: str = ""
    heads: tuple[str, ...] = ()
    product_macs: int = 0
    exact: bool = True
    widths: tuple[Width, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTensor:
    """A parameter or buffer of the model, as far as cost is concerned.

    Attributes:
        name: Dotted name; of tied parameters the first.
        shape: Its shape.
        itemsize: Bytes of one element.
        is_parameter: False for buffers.
        macs: Multiply-adds that its elements take part in, all together, for the example inputs.
    """

    name: str
    shape: tuple[int, ...]
    itemsize: int
    is_parameter: bool
    macs: int


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ChannelGraph:
    """What may be removed together in one model.

    Attributes:
        groups: Prunable and frozen groups, in the order in which the model makes the channels.
        tensors: All parameters and buffers of the model.
        other_macs: Multiply-adds between activations, which no stored tensor takes part in.
        inputs: The example inputs the model was run on; tensors are copies.
        model_type: Class name of the model, for messages.
    """

    groups: tuple[ChannelGroup, ...]
    tensors: tuple[StoredTensor, ...]
    other_macs: int
    inputs: Inputs
    model_type: str

    @property
    def prunable(self) -> tuple[ChannelGroup, ...]:
        """The groups from which units may be removed."""
        return tuple(group for group in self.groups if group.prunable)

    @property
    def macs(self) -> int:
        """Multiply-adds for the example inputs."""
        return self.other_macs + sum(tensor.macs for tensor in self.tensors)

    def group(self, name: str) -> ChannelGroup:
        """The group of that name; KeyError if there is none."""
        for group in self.groups:
            if group.name == name:
                return group
        raise KeyError(name)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ChannelScores(Mapping[str, Tensor]):
    """One number for each unit of each prunable group; larger is more worth keeping.

    A mapping from group name to float32 tensor of shape (size,), all >= 0.

    Attributes:
        method: Which method's scores these are.
        by_group: The scores by group.
        filter_norms: L2 norm of each unit's producing weights, by group, shape (size,).
        sums: Number of (output, position, sign) sums that the group's consumers compute for one
            sample, by group: eta of the sampling bounds.
        samples: The samples that were seen.
    """

    method: str
    by_group: Mapping[str, Tensor]
    filter_norms: Mapping[str, Tensor] = field(default_factory=lambda: MappingProxyType({}))
    sums: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    samples: SampleIds = field(default_factory=SampleIds.none)

    def __getitem__(self, name: str) -> Tensor:
        return self.by_group[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.by_group)

    def __len__(self) -> int:
        return len(self.by_group)
