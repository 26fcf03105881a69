"""How far the outputs of the layers stray that read fewer channels than before."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, final

import torch
from torch import Tensor, nn

from prunella.bounds import samples_needed, tolerance_limit
from prunella.certificate.errors import relative_errors
from prunella.core.certified import LayerBound
from prunella.core.errors import InputError
from prunella.core.types import ChannelGraph

Outputs = dict[str, list[Tensor]]  # of each layer, in the order in which it ran

_PLAIN = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class Cut(Protocol):
    """What was removed; a `Plan` is one."""

    @property
    def graph(self) -> ChannelGraph:
        """The graph of the original."""
        ...

    @property
    def kept(self) -> Mapping[str, Tensor]:
        """Sorted int64 units of each prunable group, by group name."""
        ...


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ReadLayer:
    """A linear layer or convolution that reads cut channels.

    Attributes:
        name: Dotted name of the module, the same in both networks.
        axis: Axis of its output that holds the channels.
        stays: Which of the original's output channels the small one has, int64; None if all.
    """

    name: str
    axis: int
    stays: Tensor | None


def read_layers(original: nn.Module, small: nn.Module, cut: Cut) -> tuple[ReadLayer, ...]:
    """Linear layers and convolutions that read a cut group, in the order of the groups.

    Raises:
        InputError: there are none, or one does not have the size that the cut leaves to it.
    """
    names = dict.fromkeys(
        member.tensor.rpartition(".")[0]
        for group in cut.graph.prunable
        for member in group.members
        if member.role == "consumer" and len(cut.kept[group.name]) < group.size
    )
    modules = (dict(original.named_modules()), dict(small.named_modules()))
    found = []
    for name in names:
        layers = [known.get(name) for known in modules]
        if all(isinstance(layer, _PLAIN) for layer in layers):
            axis = -1 if isinstance(layers[0], nn.Linear) else 1
            found.append(ReadLayer(name=name, axis=axis, stays=_stays(name, layers, cut)))
    if not found:
        raise InputError(
            "no linear layer or convolution reads a cut group, so there is no layer to certify; "
            "leave `layers` out."
        )
    return tuple(found)


def _stays(name: str, layers: list[Any], cut: Cut) -> Tensor | None:
    before, after = (layer.weight.shape[0] for layer in layers)
    gone = torch.zeros(before, dtype=torch.bool)
    for group in cut.graph.prunable:
        removed = torch.ones(group.size, dtype=torch.bool)
        removed[cut.kept[group.name]] = False
        for member in group.members:
            if (member.tensor, member.axis) == (f"{name}.weight", 0):
                gone[member.indices[removed].flatten()] = True
    left = int((~gone).sum())
    if left != after:
        raise InputError(
            f"the layer {name!r} has {after} outputs in the small network, but the cut leaves "
            f"{left} of {before}; give the plan that this network was made with."
        )
    return None if left == before else torch.nonzero(~gone).flatten()


@final
@dataclass(slots=True)
class LayerErrors:
    """Relative errors of the layers' outputs, batch by batch.

    Layers that do not run equally often in both networks, or whose output does not have the sample
    as its first axis, are left out; so are those that do not run at all.
    """

    layers: tuple[ReadLayer, ...]
    errors: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    unfit: set[str] = field(default_factory=set)

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[Outputs]:
        """Collect the outputs of the layers of a model, by name, while the body runs."""
        outputs: Outputs = defaultdict(list)
        with ExitStack() as stack:
            for layer in self.layers:
                module = model.get_submodule(layer.name)
                handle = module.register_forward_hook(_collector(outputs[layer.name]))
                stack.callback(handle.remove)
            yield outputs

    def add(self, original: Outputs, small: Outputs, samples: int) -> None:
        """Compare what a batch gave; of several runs of a layer the largest error counts."""
        for layer in self.layers:
            first, second = original[layer.name], small[layer.name]
            fits = first and len(first) == len(second)
            if not fits or any(len(output) != samples for output in (*first, *second)):
                self.unfit.add(layer.name)
                continue
            errors = [_errors(layer, *pair) for pair in zip(first, second, strict=True)]
            self.errors[layer.name].append(torch.stack(errors).amax(dim=0))

    def bounds(self, alpha: float, delta: float) -> tuple[LayerBound, ...]:
        """A tolerance limit for each layer at delta divided by their number.

        Theorem 2 of `docs/theory/certificates.md`, and the union bound over the layers.

        Raises:
            InputError: no layer could be compared.
        """
        fit = [layer.name for layer in self.layers if layer.name not in self.unfit]
        if self.layers and not fit:
            raise InputError(
                f"none of the {len(self.layers)} layers that read cut channels could be compared: "
                "they do not run equally often in both networks, or their outputs do not have the "
                "sample as their first axis. Leave `layers` out."
            )
        share = delta / max(len(fit), 1)
        return tuple(
            LayerBound(
                name=name,
                error_bound=tolerance_limit(torch.cat(self.errors[name]).numpy(), alpha, share),
                samples_needed=samples_needed(alpha, share),
            )
            for name in fit
        )


def _collector(outputs: list[Tensor]) -> Any:
    def collect(module: nn.Module, args: object, output: Tensor) -> None:
        del module, args
        outputs.append(output.detach().cpu().double())

    return collect


def _errors(layer: ReadLayer, original: Tensor, small: Tensor) -> Tensor:  # (N,)
    if layer.stays is not None:
        original = original.index_select(layer.axis, layer.stays)
    return relative_errors(original.flatten(1), small.flatten(1))
