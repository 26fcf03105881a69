"""Drawing a network: step after step, each of a kind that fits the values there are."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from random_networks.layers import ACTIVATIONS
from random_networks.network import VOCABULARY, Network, Step, full_shape, made_shapes

Shape = tuple[int, ...]
Drawer = Callable[["Sketch", int], "Step | None"]
LARGEST = 1500  # elements of a value, one sample
WIDEST = 16  # channels


class Sketch:
    """A network on the way: the steps so far, and what they make."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.shapes: list[Shape] = []  # with a batch of one
        self.steps: list[Step] = []
        self.unread: list[int] = []
        self.tokens: set[int] = set()  # values with their channels last
        self.inputs = 0

    def add_input(self, shape: Shape) -> None:
        self.unread.append(len(self.shapes))
        self.shapes.append(full_shape(shape, 1))
        self.inputs += 1

    def add(self, step: Step) -> list[int]:
        """Take a step unless what it makes is too large; the numbers of what it makes."""
        read = [self.shapes[value] for value in step.reads]
        made = made_shapes(step.kind, read, step.options)
        if any(0 in shape or math.prod(shape) > LARGEST for shape in made):
            return []
        self.steps.append(step)
        first = len(self.shapes)
        self.shapes += made
        found = list(range(first, len(self.shapes)))
        self.unread = [value for value in self.unread if value not in step.reads] + found
        name = step.options.get("name")
        if step.kind == "embedding" or name == "tokens":
            self.tokens.update(found)
        if step.reads[0] in self.tokens and name != "grid":
            self.tokens.update(value for value in found if len(self.shapes[value]) == 3)
        return found

    def flip(self, chance: float = 0.5) -> bool:
        return self.rng.random() < chance

    def divisor(self, number: int, *, largest: int) -> int:
        return self.rng.choice([d for d in range(1, largest + 1) if number % d == 0])

    def alike(self, value: int) -> list[int]:
        """Other values of the very same shape."""
        return [v for v, s in enumerate(self.shapes) if s == self.shapes[value] and v != value]

    def others(self, value: int, axis: int) -> list[int]:
        """Other values that differ along one axis at most."""
        own = _without(self.shapes[value], axis)
        return [
            v
            for v, s in enumerate(self.shapes)
            if v != value and len(s) == len(self.shapes[value]) and _without(s, axis) == own
        ]


def draw_network(rng: random.Random, *, most: int = 30) -> Network:
    """A network of 3 to `most` operations; small ones are more frequent."""
    sketch = Sketch(rng)
    for _ in range(1 if sketch.flip(0.75) else 2):
        sketch.add_input(rng.choice(_INPUTS))
    for value in range(len(sketch.shapes)):
        _start(sketch, value)
    wanted = 3 + int((most - 3) * rng.random() ** 2)
    while len(sketch.steps) < wanted:
        _grow(sketch)
    outputs = _finish(sketch)
    form = rng.choice(["single" if len(outputs) == 1 else "tuple", "dict"])
    return Network(
        inputs=tuple(_given(shape) for shape in sketch.shapes[: sketch.inputs]),
        steps=tuple(sketch.steps),
        outputs=tuple(outputs),
        form=form,
        keywords=sketch.flip(0.2),
        seed=rng.randrange(1 << 30),
    )


_INPUTS: list[Shape] = [
    (2, 6, 6), (3, 4, 4), (3, 8, 8), (2, 12), (3, 7), (2, 3, 4, 4), (6,), (9,), (0, 5),
]  # fmt: skip


def _given(shape: Shape) -> Shape:
    return (0, *shape[2:]) if shape[0] == 0 else shape[1:]


def _start(sketch: Sketch, value: int) -> None:
    """A first layer for an input; sometimes others read it as it is."""
    if sketch.shapes[value][0] == 0:
        options = {"rows": VOCABULARY, "out": sketch.rng.choice([4, 6, 8])}
        sketch.add(Step("embedding", (value,), options))
    elif sketch.flip(0.9):
        step = _linear(sketch, value) if _is_flat(sketch, value) else _plain(sketch, value)
        sketch.add(step)


def _grow(sketch: Sketch) -> None:
    rng = sketch.rng
    usable = [v for v, s in enumerate(sketch.shapes) if s[0] != 0]
    fresh = [v for v in sketch.unread if sketch.shapes[v][0] != 0]
    value = rng.choice(fresh) if fresh and sketch.flip(0.8) else rng.choice(usable[-8:])
    drawers = _FLAT if _is_flat(sketch, value) else _MAP
    if _is_tokens(sketch, value):
        drawers = _TOKENS
    names, weights = zip(*drawers.items(), strict=True)
    step = rng.choices(names, weights)[0](sketch, value)
    if step is not None:
        sketch.add(step)


def _finish(sketch: Sketch) -> list[int]:
    """A head for each value that nothing reads; few of them are outputs as they are."""
    outputs = []
    for value in [v for v in sketch.unread if sketch.shapes[v][0] != 0]:
        if sketch.flip(0.07):
            outputs.append(value)
            continue
        at = value
        if _is_tokens(sketch, value):
            (at,) = sketch.add(Step("move", (value,), {"name": "token mean"}))
        elif not _is_flat(sketch, value):
            name = sketch.rng.choice(["flatten", "mean", "reshape", "last flatten"])
            (at,) = sketch.add(Step("move", (value,), {"name": name}))
        (at,) = sketch.add(Step("linear", (at,), {"out": 3, "bias": True}))
        outputs.append(at)
    return outputs or [len(sketch.shapes) - 1]


def _is_flat(sketch: Sketch, value: int) -> bool:
    return len(sketch.shapes[value]) == 2


def _is_tokens(sketch: Sketch, value: int) -> bool:
    return value in sketch.tokens


def _without(shape: Shape, axis: int) -> Shape:
    axis %= len(shape)
    return (*shape[:axis], *shape[axis + 1 :])


# -- layers ----------------------------------------------------------------------------------------


def _plain(sketch: Sketch, value: int) -> Step:
    options = {
        "transposed": False, "out": sketch.rng.randint(2, 8), "kernel": sketch.rng.choice([1, 3]),
        "padding": 1, "bias": sketch.flip(),
    }  # fmt: skip
    if options["kernel"] == 1:
        options["padding"] = 0
    return Step("convolution", (value,), options)


def _convolution(sketch: Sketch, value: int) -> Step | None:
    rng, (_, channels, *space) = sketch.rng, sketch.shapes[value]
    kernel = rng.choice([1, 2, 3])
    groups = sketch.divisor(channels, largest=channels) if sketch.flip(0.5) else 1
    per_group = max(1, 8 // groups)
    options = {
        "transposed": sketch.flip(0.2), "kernel": kernel, "groups": groups, "bias": sketch.flip(),
        "out": groups * rng.randint(1, per_group), "stride": rng.choice([1, 1, 1, 2]),
        "padding": rng.choice([0, kernel // 2]), "dilation": rng.choice([1, 1, 2]),
    }  # fmt: skip
    reach = options["dilation"] * (kernel - 1) + 1
    if min(space) + 2 * options["padding"] < reach or options["out"] > WIDEST:
        return None
    if options["transposed"]:
        options["padding"] = 0
    elif sketch.flip(0.1):
        options["padding_mode"] = "replicate"
    return Step("convolution", (value,), options)


def _depthwise(sketch: Sketch, value: int) -> Step | None:
    channels = sketch.shapes[value][1]
    times = 2 if 2 * channels <= WIDEST and sketch.flip(0.25) else 1
    options = {"transposed": False, "kernel": 3, "groups": channels, "out": channels * times,
               "padding": 1, "bias": sketch.flip()}  # fmt: skip
    return Step("convolution", (value,), options)


def _linear(sketch: Sketch, value: int) -> Step:
    options = {"out": sketch.rng.choice([3, 4, 6, 8, 12]), "bias": sketch.flip(0.7)}
    return Step("linear", (value,), options)


def _bare_linear(sketch: Sketch, value: int) -> Step:
    options = {"out": sketch.rng.choice([4, 6, 8]), "einsum": sketch.flip()}
    return Step("bare linear", (value,), options)


def _again(sketch: Sketch, value: int) -> Step | None:
    """An earlier layer once more, or another one with the same weight."""
    shape = sketch.shapes[value]
    found = [
        (number, step)
        for number, step in enumerate(sketch.steps)
        if step.kind in ("convolution", "linear", "packed attention", "batch norm")
        and step.layer < 0
        and step.tied < 0
        and len(step.reads) == 1
        and sketch.shapes[step.reads[0]] == shape
    ]
    if not found:
        return None
    number, step = sketch.rng.choice(found)
    if step.kind in ("convolution", "linear") and sketch.flip(0.4):
        return Step(step.kind, (value,), step.options, tied=number)
    return Step(step.kind, (value,), step.options, layer=number)


def _activation(sketch: Sketch, value: int) -> Step:
    if sketch.flip(0.15) and not _is_tokens(sketch, value):
        return Step("prelu", (value,), {"each": sketch.flip(0.6)})
    return Step("activation", (value,), {"name": sketch.rng.choice(list(ACTIVATIONS))})


def _norm(sketch: Sketch, value: int) -> Step:
    shape = sketch.shapes[value]
    chance, affine = sketch.rng.random(), sketch.flip(0.8)
    if chance < 0.55:
        return Step("batch norm", (value,), {"affine": affine})
    if chance < 0.75:
        groups = sketch.divisor(shape[1], largest=shape[1])
        if math.prod(shape[1:]) > groups:
            return Step("group norm", (value,), {"affine": affine, "groups": groups})
    if chance < 0.9 and len(shape) > 2 and math.prod(shape[2:]) > 1:
        return Step("instance norm", (value,), {"affine": affine})
    return Step("layer norm", (value,), {"last": len(shape) == 2})


def _token_norm(_: Sketch, value: int) -> Step:
    return Step("layer norm", (value,), {"last": True})


def _attention(sketch: Sketch, value: int) -> Step:
    rng, width = sketch.rng, sketch.shapes[value][-1]
    even = [heads for heads in (1, 2, 3, 4) if width % heads == 0]
    if sketch.flip(0.4):
        readers = [v for v in sketch.others(value, 1) if _is_tokens(sketch, v)]
        reads = (value, rng.choice(readers)) if readers and sketch.flip(0.3) else (value,)
        options = {"heads": rng.choice(even), "bias": sketch.flip(), "weights": sketch.flip(),
                   "apart": sketch.flip(0.3)}  # fmt: skip
        return Step("packed attention", reads, options)
    heads = rng.choice([1, 2, 3, 4])
    form = rng.choice(["three", "chunk", "apart"])
    shared = sketch.divisor(heads, largest=heads) if form == "apart" else 1
    return Step("attention", (value,), {
        "heads": heads, "head_dim": rng.choice([1, 2, 3]), "shared": shared, "form": form,
        "core": rng.choice(["sdpa", "matmul", "bmm", "einsum"]), "counted": sketch.flip(),
        "repeat": rng.choice(["interleave", "expand"]), "bias": sketch.flip(),
    })  # fmt: skip


# -- several values --------------------------------------------------------------------------------


def _add(sketch: Sketch, value: int) -> Step | None:
    alike = sketch.alike(value)
    if not alike:
        return None
    names = ["add", "add", "subtract", "mean", "stack", "maximum", "stack last"]
    reads = (value, sketch.rng.choice(alike))
    return Step("add", reads if sketch.flip() else reads[::-1], {"name": sketch.rng.choice(names)})


def _multiply(sketch: Sketch, value: int) -> Step | None:
    alike = [v for v in sketch.alike(value) if len(sketch.shapes[v]) == len(sketch.shapes[value])]
    if not alike:
        return None
    return Step("multiply", (value, sketch.rng.choice(alike)), {"gate": sketch.flip(0.7)})


def _concatenate(sketch: Sketch, value: int) -> Step | None:
    axis = -1 if _is_tokens(sketch, value) else 1
    others = [v for v in sketch.others(value, axis) if sketch.shapes[v][0] != 0]
    if not others:
        return None
    parts = [value, *sketch.rng.choices(others, k=sketch.rng.choice([1, 1, 2]))]
    sketch.rng.shuffle(parts)
    if sum(sketch.shapes[v][axis] for v in parts) > WIDEST:
        return None
    return Step("concatenate", tuple(parts), {"axis": axis})


_DIVISIONS = ("chunk", "split", "sizes", "narrow", "unbind", "strided", "tensor_split")


def _divide(sketch: Sketch, value: int) -> Step | None:
    axis = -1 if _is_tokens(sketch, value) else 1
    channels = sketch.shapes[value][axis]
    fits = [parts for parts in (2, 3, 4) if channels % parts == 0]
    if not fits:
        return None
    if sketch.flip(0.15):
        return Step("glu", (value,), {"axis": axis}) if channels % 2 == 0 else None
    if sketch.flip(0.1) and axis == 1:
        return Step("first part", (value,))
    if sketch.flip(0.1) and axis == 1:
        stop = sketch.rng.randint(1, channels)
        return Step("fixed part", (value,), {"start": sketch.rng.randrange(stop), "stop": stop})
    axis = axis % len(sketch.shapes[value])
    name = sketch.rng.choice(_DIVISIONS)
    return Step("divide", (value,), {"name": name, "parts": sketch.rng.choice(fits), "axis": axis})


def _gate(sketch: Sketch, value: int) -> Step:
    return Step("squeeze-excite", (value,), {"hidden": sketch.rng.randint(2, 5)})


def _product(sketch: Sketch, value: int) -> Step | None:
    readers = sketch.others(value, 1)
    if not readers or len(sketch.shapes[value]) < 3:
        return None
    return Step("bilinear", (value, sketch.rng.choice([value, *readers])))


# -- one value -------------------------------------------------------------------------------------


def _stored(sketch: Sketch, value: int) -> Step:
    shape = sketch.shapes[value]
    chance = sketch.rng.random()
    if _is_tokens(sketch, value):
        if chance < 0.4 and shape[1] < 12:
            return Step("class token", (value,))
        if chance < 0.8:
            return Step("positions", (value,))
    if chance < 0.12:
        name = sketch.rng.choice(["view", "check", "table"])
        return Step("constant", (value,), {"name": name})
    axis = -1 if _is_tokens(sketch, value) or sketch.flip(0.1) else 1
    options = {"axis": axis, "parameter": sketch.flip(0.7), "add": sketch.flip()}
    return Step("scale", (value,), options)


def _move_map(sketch: Sketch, value: int) -> Step | None:
    _, channels, *space = sketch.shapes[value]
    groups = sketch.divisor(channels, largest=min(4, channels))
    names = ["permute", "flip", "squeeze", "repeat", "copies", "pad", "softmax", "roll"]
    names += ["pad channels", "normalise", "choose", "prefix sum"]
    if groups > 1:
        names += ["shuffle", "shuffle", "sum groups", "maxout"]
        names += ["channel shuffle"] if len(space) == 2 else []
    if len(space) == 2:
        names += ["swap", "pixel shuffle"] if channels % 4 == 0 else ["swap"]
        names += ["pixel unshuffle"] if all(s % 2 == 0 for s in space) and channels <= 4 else []
    name = sketch.rng.choice(names)
    if name in ("repeat", "copies") and 2 * channels > WIDEST:
        return None
    return Step("move", (value,), {
        "name": name, "groups": groups, "axis": sketch.rng.choice([1, 2]),
    })  # fmt: skip


def _leave_map(sketch: Sketch, value: int) -> Step:
    names = ["flatten", "reshape", "last flatten", "mean", "peak"]
    names += ["tokens"] * 3 if math.prod(tuple(sketch.shapes[value][2:])) <= 16 else []
    return Step("move", (value,), {"name": sketch.rng.choice(names)})


def _pool(sketch: Sketch, value: int) -> Step | None:
    _, _, *space = sketch.shapes[value]
    names = ["max", "average", "adaptive", "adaptive max"]
    names += ["upsample"] if len(space) < 3 else []
    name = sketch.rng.choice(names)
    return None if min(space) < 2 else Step("pool", (value,), {"name": name})


def _move_flat(sketch: Sketch, value: int) -> Step | None:
    features = sketch.shapes[value][1]
    groups = sketch.divisor(features, largest=min(4, features))
    choices = [{"name": "map", "size": size} for size in ((2, 2), (3,), (4,), (1, 1))
               if features % math.prod(size) == 0]  # fmt: skip
    choices += [{"name": name, "groups": groups, "axis": 1} for name in
                ("flip", "repeat", "shuffle", "sum groups", "softmax", "normalise")]  # fmt: skip
    options = sketch.rng.choice(choices)
    too_wide = options["name"] == "repeat" and 2 * features > WIDEST
    return None if too_wide else Step("move", (value,), options)


def _move_tokens(sketch: Sketch, value: int) -> Step | None:
    _, tokens, _ = sketch.shapes[value]
    choices: list[dict[str, object]] = [
        {"name": name, "axis": 2} for name in ("token mean", "token", "flip", "softmax", "roll")
    ]
    choices += [{"name": "grid", "size": size} for size in ((2, 2), (2, 3), (3, 3), (4, 4))
                if tokens == math.prod(size)]  # fmt: skip
    return Step("move", (value,), sketch.rng.choice(choices))


_MAP: dict[Drawer, int] = {
    _convolution: 10, _depthwise: 3, _norm: 6, _activation: 7, _pool: 2, _add: 6, _multiply: 3,
    _concatenate: 6, _divide: 5, _gate: 2, _move_map: 4, _leave_map: 3, _stored: 3, _again: 3,
    _product: 1,
}  # fmt: skip
_FLAT: dict[Drawer, int] = {
    _linear: 8, _bare_linear: 2, _norm: 3, _activation: 5, _add: 4, _multiply: 2, _concatenate: 4,
    _divide: 4, _move_flat: 4, _stored: 2, _again: 3,
}  # fmt: skip
_TOKENS: dict[Drawer, int] = {
    _linear: 5, _bare_linear: 1, _token_norm: 2, _attention: 8, _activation: 3, _add: 5,
    _multiply: 2, _concatenate: 2, _divide: 3, _move_tokens: 3, _stored: 3, _again: 2, _product: 1,
}  # fmt: skip
