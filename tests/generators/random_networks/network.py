"""A network as plain data, and the module that it stands for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from random_networks.layers import make_layer

VOCABULARY = 7


@dataclass(frozen=True)
class Step:
    """One operation: its kind, the values it reads by number, and its options.

    Attributes:
        kind: A kind of layers.py.
        reads: Numbers of the values it reads; inputs come first, then what each step makes.
        options: Plain numbers, flags and words.
        layer: Number of an earlier step whose very layer is used again; -1 for one of its own.
        tied: Number of an earlier step with which the weight is shared; -1 for none.
    """

    kind: str
    reads: tuple[int, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    layer: int = -1
    tied: int = -1


@dataclass(frozen=True)
class Network:
    """Inputs, steps and outputs.

    Attributes:
        inputs: For each input its shape without the batch; one axis of token numbers is marked
            by a first entry of 0.
        steps: In the order in which they run.
        outputs: Numbers of the values that are returned.
        form: How they are returned: "single", "tuple" or "dict".
        keywords: Whether inputs are given by name.
        seed: Of weights and inputs.
    """

    inputs: tuple[tuple[int, ...], ...]
    steps: tuple[Step, ...]
    outputs: tuple[int, ...]
    form: str
    keywords: bool
    seed: int

    def __deepcopy__(self, memo: dict[int, object]) -> Network:
        """Itself: it cannot change, and modules that know it are copied often."""
        return self


class Net(nn.Module):
    """Runs the steps one after the other."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        shapes: list[tuple[int, ...]] = [full_shape(shape, 1) for shape in network.inputs]
        self.layers = nn.ModuleDict()
        for number, step in enumerate(network.steps):
            read = [shapes[value] for value in step.reads]
            if step.layer < 0:
                self.layers[str(number)] = make_layer(step.kind, read, step.options)
            layer = self.layers[str(number if step.layer < 0 else step.layer)]
            if step.tied >= 0:
                layer.inner.weight = self.layers[str(step.tied)].inner.weight
            shapes += made_shapes(step.kind, read, step.options)

    def forward(self, *inputs: Tensor, **named: Tensor) -> Any:
        values = [*inputs, *(named[f"x{place}"] for place in range(len(named)))]
        for number, step in enumerate(self.network.steps):
            layer = self.layers[str(number if step.layer < 0 else step.layer)]
            made = layer(*(values[value] for value in step.reads))
            values += made if isinstance(made, (tuple, list)) else [made]
        found = [values[value] for value in self.network.outputs]
        if self.network.form == "dict":
            return {f"y{place}": value for place, value in enumerate(found)}
        return found[0] if self.network.form == "single" else tuple(found)


def full_shape(shape: tuple[int, ...], batch: int) -> tuple[int, ...]:
    """A shape with its batch axis; the mark of token numbers stays in front."""
    return (0, batch, *shape[1:]) if shape[:1] == (0,) else (batch, *shape)


def made_shapes(
    kind: str, read: list[tuple[int, ...]], options: Mapping[str, Any]
) -> list[tuple[int, ...]]:
    """Shapes of what a step makes, found by running its layer on the meta device."""
    with torch.device("meta"):
        layer = make_layer(kind, read, options).eval()
        inputs = [
            torch.zeros(shape[1:], dtype=torch.long) if shape[0] == 0 else torch.zeros(shape)
            for shape in read
        ]
        with torch.no_grad():
            made = layer(*inputs)
    made = made if isinstance(made, (tuple, list)) else [made]
    return [tuple(value.shape) for value in made]


def build(network: Network) -> nn.Module:
    """The module, in float64 and evaluation mode, with weights that keep values of order one."""
    generator = torch.Generator().manual_seed(network.seed)
    model = Net(network).double().eval()
    with torch.no_grad():
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if not tensor.dtype.is_floating_point:
                continue
            values = torch.rand(tensor.shape, generator=generator, dtype=torch.float64)
            if name.endswith("running_var"):
                values = values + 0.5
            elif tensor.ndim > 1:
                fan = tensor.numel() / max(tensor.shape[0], 1)
                values = (values - 0.5) * 2 * math.sqrt(3 / fan)
            else:
                values = values * 2 - 0.7
            tensor.copy_(values)
    return model


def inputs_of(network: Network, batch: int, seed: int = 0) -> Any:
    """Random inputs, as the example inputs of `prunella.trace` are given."""
    generator = torch.Generator().manual_seed(network.seed + 1 + seed)
    found = []
    for shape in network.inputs:
        if shape[:1] == (0,):
            size = (batch, *shape[1:])
            found.append(torch.randint(0, VOCABULARY, size, generator=generator))
        else:
            found.append(torch.randn(batch, *shape, generator=generator, dtype=torch.float64))
    if network.keywords:
        return {f"x{place}": value for place, value in enumerate(found)}
    return tuple(found)
