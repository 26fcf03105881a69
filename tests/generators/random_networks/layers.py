"""The layers that random networks are made of, by kind; all read shapes from their inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from random_networks.attention import Attention

Shapes = list[tuple[int, ...]]
Maker = Callable[[Shapes, Mapping[str, Any]], nn.Module]
LAYERS: dict[str, Maker] = {}


def make_layer(kind: str, shapes: Shapes, options: Mapping[str, Any]) -> nn.Module:
    """The layer of a step that reads values of the given shapes, batch included."""
    return LAYERS[kind](shapes, options)


def kind(name: str) -> Callable[[Maker], Maker]:
    def register(maker: Maker) -> Maker:
        LAYERS[name] = maker
        return maker

    return register


class Wrapped(nn.Module):
    """A layer of torch under the name `inner`."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Any:
        return self.inner(x)


class Function(nn.Module):
    """A function of its inputs and of the parameters and buffers given by name."""

    def __init__(self, function: Callable[..., Any], **stored: Tensor) -> None:
        super().__init__()
        self.function = function
        for name, tensor in stored.items():
            if isinstance(tensor, nn.Parameter):
                self.register_parameter(name, tensor)
            else:
                self.register_buffer(name, tensor)

    def forward(self, *inputs: Tensor) -> Any:
        if next(self.parameters(), None) is None and next(self.buffers(), None) is None:
            return self.function(*inputs)
        return self.function(self, *inputs)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "relu_": lambda x: F.relu(x.clone(), inplace=True),
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "gelu": F.gelu,
    "silu": F.silu,
    "hardswish": F.hardswish,
    "leaky": lambda x: F.leaky_relu(x, 0.1),
    "elu": F.elu,
    "softplus": F.softplus,
    "cosine": torch.cos,
    "bell": lambda x: torch.exp(-x.square()),
    "shifted": lambda x: 0.5 * x + 0.3,
    "clamp": lambda x: x.clamp(-0.5, 1.0),
    "gated": lambda x: x * torch.sigmoid(1.7 * x),
    "signed root": lambda x: torch.where(x > 0, (x + 1).log(), -x),
    "one minus": lambda x: 1 - x,
}


@kind("activation")
def _activation(_: Shapes, options: Mapping[str, Any]) -> nn.Module:
    return Function(ACTIVATIONS[options["name"]])


@kind("prelu")
def _prelu(shapes: Shapes, options: Mapping[str, Any]) -> nn.Module:
    return Wrapped(nn.PReLU(shapes[0][1] if options["each"] else 1))


# -- contractions ----------------------------------------------------------------------------------

_CONVOLUTIONS = {
    (1, False): nn.Conv1d,
    (2, False): nn.Conv2d,
    (3, False): nn.Conv3d,
    (1, True): nn.ConvTranspose1d,
    (2, True): nn.ConvTranspose2d,
    (3, True): nn.ConvTranspose3d,
}


@kind("convolution")
def _convolution(shapes: Shapes, options: Mapping[str, Any]) -> nn.Module:
    given = dict(options)
    layer = _CONVOLUTIONS[len(shapes[0]) - 2, given.pop("transposed")]
    return Wrapped(layer(shapes[0][1], given.pop("out"), given.pop("kernel"), **given))


@kind("linear")
def _linear(shapes: Shapes, options: Mapping[str, Any]) -> nn.Module:
    return Wrapped(nn.Linear(shapes[0][-1], options["out"], bias=options["bias"]))


@kind("bare linear")
def _bare_linear(shapes: Shapes, options: Mapping[str, Any]) -> nn.Module:
    weight = nn.Parameter(torch.zeros(shapes[0][-1], options["out"]))
    if options["einsum"]:
        return Function(lambda m, x: torch.einsum("...i,ij->...j", x, m.weight), weight=weight)
    return Function(lambda m, x: x @ m.weight, weight=weight)


@kind("embedding")
def _embedding(_: Shapes, options: Mapping[str, Any]) -> nn.Module:
    return Wrapped(nn.Embedding(options["rows"], options["out"]))


@kind("bilinear")
def _bilinear(shapes: Shapes, options: Mapping[str, Any]) -> nn.Module:
    return Function(lambda x, y: torch.bmm(x.flatten(2), y.flatten(2).mT))


@kind("attention")
def _attention(shapes: Shapes, options: Mapping[str, Any]) -> nn.Module:
    return Attention(shapes[0][-1], **options)


class Packed(nn.Module):
    """`nn.MultiheadAttention`, of one tensor or of two."""

    def __init__(self, shapes: Shapes, options: Mapping[str, Any]) -> None:
        super().__init__()
        other = shapes[-1][-1]
        wide = {} if other == shapes[0][-1] and not options["apart"] else {
            "kdim": other, "vdim": other
        }  # fmt: skip
        self.inner = nn.MultiheadAttention(
            shapes[0][-1], options["heads"], bias=options["bias"], batch_first=True, **wide
        )
        self.weights = options["weights"]

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        y = x if y is None else y
        return self.inner(x, y, y, need_weights=self.weights)[0]


@kind("packed attention")
def _packed(shapes: Shapes, options: Mapping[str, Any]) -> nn.Module:
    return Packed(shapes, options)


# -- normalisation ---------------------------------------------------------------------------------

_BATCH = {0: nn.BatchNorm1d, 1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_INSTANCE = {1: nn.InstanceNorm1d, 2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}


@kind("batch norm")
def _batch_norm(shapes: Shapes, options: Mapping[str, Any]) -> nn.Module:
    return Wrapped(_BATCH[len(shapes[0]) - 2](shapes[0][1], affine=options["affine"]))


@kind("instance norm")
def _instance_norm(shapes: Shapes, options: Mapping[str, Any]) -> nn.Module:
    return Wrapped(_INSTANCE[len(shapes[0]) - 2](shapes[0][1], affine=options["affine"]))


@kind("group norm")
def _group_norm(shapes: Shapes, options: Mapping[str, Any]) -> nn.Module:
    return Wrapped(nn.GroupNorm(options["groups"], shapes[0][1], affine=options["affine"]))


@kind("layer norm")
def _layer_norm(shapes: Shapes, options: Mapping[str, Any]) -> nn.Module:
    if options["last"]:
        return Wrapped(nn.LayerNorm(shapes[0][-1]))
    return Function(
        lambda m, x: F.layer_norm(x.movedim(1, -1), m.w.shape, m.w, m.b).movedim(-1, 1),
        w=nn.Parameter(torch.zeros(shapes[0][1])),
        b=nn.Parameter(torch.zeros(shapes[0][1])),
    )


# -- joining and dividing --------------------------------------------------------------------------


@kind("add")
def _add(_: Shapes, options: Mapping[str, Any]) -> nn.Module:
    return Function({
        "add": torch.add, "subtract": torch.sub, "mean": lambda x, y: (x + y) / 2,
        "stack": lambda x, y: torch.stack([x, y]).sum(0), "maximum": torch.maximum,
        "stack last": lambda x, y: torch.stack([x, y], -1).amax(-1),
    }[options["name"]])  # fmt: skip


@kind("multiply")
def _multiply(_: Shapes, options: Mapping[str, Any]) -> nn.Module:
    if options["gate"]:
        return Function(lambda x, y: x * torch.sigmoid(y))
    return Function(torch.mul)


@kind("concatenate")
def _concatenate(_: Shapes, options: Mapping[str, Any]) -> nn.Module:
    return Function(lambda *parts: torch.cat(parts, dim=options["axis"]))


@kind("divide")
def _divide(_: Shapes, options: Mapping[str, Any]) -> nn.Module:
    parts, axis = options["parts"], options["axis"]

    def sliced(x: Tensor) -> list[Tensor]:
        width = x.shape[axis] // parts
        return [x.narrow(axis, place * width, width) for place in range(parts)]

    return Function({
        "chunk": lambda x: list(x.chunk(parts, axis)),
        "split": lambda x: list(x.split(x.shape[axis] // parts, axis)),
        "sizes": lambda x: list(x.split([x.shape[axis] // parts] * parts, axis)),
        "narrow": sliced,
        "unbind": lambda x: list(x.unflatten(axis, (parts, -1)).unbind(axis)),
        "strided": lambda x: [x.unflatten(axis, (-1, parts)).select(axis + 1, place)
                              for place in range(parts)],
        "tensor_split": lambda x: list(x.tensor_split(parts, axis)),
    }[options["name"]])  # fmt: skip


@kind("first part")
def _first_part(_: Shapes, options: Mapping[str, Any]) -> nn.Module:
    return Function(lambda x: x[:, : x.shape[1] // 2])


@kind("fixed part")
def _fixed_part(_: Shapes, options: Mapping[str, Any]) -> nn.Module:
    start, stop = options["start"], options["stop"]
    return Function(lambda x: x[:, start:stop])


@kind("glu")
def _glu(_: Shapes, options: Mapping[str, Any]) -> nn.Module:
    return Function(lambda x: F.glu(x, options["axis"]))


class SqueezeExcite(nn.Module):
    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(channels, hidden), nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.up(F.relu(self.down(x.flatten(2).mean(2)))))
        return x * gate.view(*gate.shape, *[1] * (x.ndim - 2))


@kind("squeeze-excite")
def _squeeze_excite(shapes: Shapes, options: Mapping[str, Any]) -> nn.Module:
    return SqueezeExcite(shapes[0][1], options["hidden"])


# -- stored vectors and constants ------------------------------------------------------------------


@kind("scale")
def _scale(shapes: Shapes, options: Mapping[str, Any]) -> nn.Module:
    axis = options["axis"] % len(shapes[0])
    shape = [1] * len(shapes[0])
    shape[axis] = shapes[0][axis]
    made = torch.zeros(shape)
    gain = nn.Parameter(made) if options["parameter"] else made
    if options["add"]:
        return Function(lambda m, x: x + m.gain, gain=gain)
    return Function(lambda m, x: x * m.gain, gain=gain)


@kind("positions")
def _positions(shapes: Shapes, _: Mapping[str, Any]) -> nn.Module:
    return Function(lambda m, x: x + m.at, at=nn.Parameter(torch.zeros(1, *shapes[0][1:])))


@kind("class token")
def _class_token(shapes: Shapes, _: Mapping[str, Any]) -> nn.Module:
    return Function(
        lambda m, x: torch.cat([m.token.expand(len(x), -1, -1), x], dim=1),
        token=nn.Parameter(torch.zeros(1, 1, shapes[0][2])),
    )


@kind("constant")
def _constant(shapes: Shapes, options: Mapping[str, Any]) -> nn.Module:
    size = shapes[0][1]
    rest = [1] * (len(shapes[0]) - 2)
    if options["name"] == "view":
        return Function(lambda x: x.reshape(x.shape[0], size, *x.shape[2:]) * 1.5)
    if options["name"] == "check":
        return Function(lambda x: _checked(x, size))
    return Function(lambda x: x * torch.linspace(0.5, 1.5, size, dtype=x.dtype).view(-1, *rest))


def _checked(x: Tensor, size: int) -> Tensor:
    if x.shape[1] != size:
        raise ValueError(f"expected {size} channels, got {x.shape[1]}")
    return x


# -- movement --------------------------------------------------------------------------------------


@kind("move")
def _move(shapes: Shapes, options: Mapping[str, Any]) -> nn.Module:
    groups, axis = options.get("groups", 1), options.get("axis", 1)

    def shuffle(x: Tensor) -> Tensor:
        n, _, *rest = x.shape
        return x.view(n, groups, -1, *rest).transpose(1, 2).reshape(n, -1, *rest)

    return Function({
        "shuffle": shuffle,
        "channel shuffle": lambda x: F.channel_shuffle(x, groups),
        "pixel shuffle": lambda x: F.pixel_shuffle(x, 2),
        "pixel unshuffle": lambda x: F.pixel_unshuffle(x, 2),
        "flatten": lambda x: x.flatten(1),
        "reshape": lambda x: x.reshape(x.shape[0], -1),
        "last flatten": lambda x: x.movedim(1, -1).flatten(1),
        "map": lambda x: x.view(x.shape[0], -1, *options["size"]),
        "tokens": lambda x: x.flatten(2).transpose(1, 2),
        "grid": lambda x: x.transpose(1, 2).unflatten(2, options["size"]),
        "mean": lambda x: x.flatten(2).mean(2),
        "peak": lambda x: x.flatten(2).amax(2),
        "token mean": lambda x: x.mean(1),
        "token": lambda x: x[:, 0],
        "swap": lambda x: x.transpose(2, -1),
        "flip": lambda x: x.flip(axis),
        "roll": lambda x: x.roll(1, -1),
        "repeat": lambda x: x.repeat_interleave(2, 1),
        "copies": lambda x: x.repeat(1, 2, *[1] * (x.ndim - 2)),
        "sum groups": lambda x: x.unflatten(1, (groups, -1)).sum(1),
        "maxout": lambda x: x.unflatten(1, (-1, groups)).amax(2),
        "pad": lambda x: F.pad(x, (1, 1)),
        "pad channels": lambda x: F.pad(x, (*[0, 0] * (x.ndim - 2), 1, 0)),
        "softmax": lambda x: x.softmax(axis),
        "normalise": lambda x: F.normalize(x, dim=axis),
        "squeeze": lambda x: x.unsqueeze(2).squeeze(2),
        "permute": lambda x: x.permute(0, *range(2, x.ndim), 1).contiguous().movedim(-1, 1),
        "choose": lambda x: x[:, torch.arange(x.shape[1] - 1, -1, -1)],
        "prefix sum": lambda x: x.cumsum(axis),
    }[options["name"]])  # fmt: skip


@kind("pool")
def _pool(shapes: Shapes, options: Mapping[str, Any]) -> nn.Module:
    dims = len(shapes[0]) - 2
    name = options["name"]
    if name == "upsample":
        return Wrapped(nn.Upsample(scale_factor=2))
    layers: dict[str, Callable[..., nn.Module]] = {
        "max": (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)[dims - 1],
        "average": (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)[dims - 1],
        "adaptive": (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)[dims - 1],
        "adaptive max": (nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d)[
            dims - 1
        ],
    }
    return Wrapped(layers[name](2))
