"""What may be traced and how: patterns, inputs by name, devices, types, paths that need values."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import prunella
from prunella.core.errors import InputError
from small_models import Net, halved, names, of

IMAGE = torch.randn(1, 3, 8, 8)


class Blocks(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.body = nn.Sequential(nn.Conv2d(8, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.ReLU())
        self.hidden = nn.Linear(4, 6)
        self.last = nn.Linear(6, 2)

    def forward(self, x):
        x = self.body(torch.relu(self.stem(x)))
        return self.last(torch.relu(self.hidden(x.mean((2, 3)))))


# -- patterns --------------------------------------------------------------------------------------


def test_all_without_patterns():
    assert names(prunella.trace(Blocks(), IMAGE)) == ["stem", "body.0", "body.2", "hidden"]


@pytest.mark.parametrize(
    ("include", "left"),
    [
        (["stem"], ["stem"]),
        # A group is named by the layers that read it, too.
        (["body.0"], ["stem", "body.0"]),
        (["hidden", "stem"], ["stem", "body.2", "hidden"]),
        (["body.*"], ["stem", "body.0", "body.2"]),
        ([nn.Linear], ["body.2", "hidden"]),
    ],
)
def test_include(include, left):
    graph = prunella.trace(Blocks(), IMAGE, include=include)
    assert names(graph) == left
    others = [g for g in graph.groups if g.name not in left and "not among" in g.reason]
    assert len(others) + len(left) == 4


@pytest.mark.parametrize(
    ("exclude", "left"),
    [
        (["stem"], ["body.0", "body.2", "hidden"]),
        (["body"], ["hidden"]),
        (["*0"], ["body.2", "hidden"]),
        ([nn.Conv2d], ["hidden"]),
    ],
)
def test_exclude(exclude, left):
    graph = prunella.trace(Blocks(), IMAGE, exclude=exclude)
    assert names(graph) == left
    words = exclude[0] if isinstance(exclude[0], str) else "Conv2d"
    assert f"excluded by {words!r}" in {group.reason for group in graph.groups}


def test_exclude_goes_before_include():
    graph = prunella.trace(Blocks(), IMAGE, include=["body.*"], exclude=["body.0"])
    assert names(graph) == ["body.2"]


@pytest.mark.parametrize("pattern", ["bodi.*", nn.Conv3d])
@pytest.mark.parametrize("option", ["include", "exclude"])
def test_a_pattern_that_names_nothing_is_an_error(option, pattern):
    words = pattern if isinstance(pattern, str) else "Conv3d"
    with pytest.raises(InputError, match=rf"the pattern '{words}' names no group of Blocks; give"):
        prunella.trace(Blocks(), IMAGE, **{option: [pattern]})


# -- inputs and outputs ----------------------------------------------------------------------------


def test_inputs_by_name_and_outputs_in_a_dictionary():
    def forward(m, image, extra):
        y = torch.relu(m.first(image))
        shown = torch.relu(m.second(image))
        logits = m.last((y + m.third(shown)).mean((2, 3)) * extra["scale"])
        return {"logits": logits, "parts": [{"shown": shown}]}

    model = Net(
        forward, first=nn.Conv2d(3, 6, 1), second=nn.Conv2d(3, 4, 1), third=nn.Conv2d(4, 6, 1),
        last=nn.Linear(6, 2),
    )  # fmt: skip
    example = {"image": IMAGE, "extra": {"scale": torch.ones(1)}}
    graph, small = halved(model, example)
    assert names(graph) == ["first"]
    assert graph.group("second").reason == "is an output of the model"
    assert small(**example)["logits"].shape == (1, 2)


def test_one_dictionary_as_an_argument():
    model = Net(lambda m, batch: m.last(torch.relu(m.first(batch["x"]))),
                first=nn.Linear(3, 6), last=nn.Linear(6, 2))  # fmt: skip
    graph, _ = halved(model, ({"x": torch.randn(1, 3)},))
    assert names(graph) == ["first"]


def test_several_inputs():
    model = Net(lambda m, x, y: m.last(torch.relu(m.left(x) + m.right(y))),
                left=nn.Linear(3, 6), right=nn.Linear(4, 6), last=nn.Linear(6, 2))  # fmt: skip
    graph, small = halved(model, (torch.randn(1, 3), torch.randn(1, 4)))
    assert names(graph) == ["left"]
    assert small.right.out_features == 3


# -- devices and types -----------------------------------------------------------------------------


def test_plan_without_weights_fits_the_model_with_weights():
    with torch.device("meta"):
        empty = Blocks()
    graph = prunella.trace(empty, IMAGE)
    plan = prunella.plan(graph, None, prunella.Params(0.5), method="random", seed=1)
    small = plan.apply(empty)
    assert {parameter.device.type for parameter in small.parameters()} == {"meta"}
    real = plan.apply(Blocks())
    assert prunella.cost(real, IMAGE) == prunella.cost(small, IMAGE) == plan.achieved
    assert plan.achieved.params <= 0.5 * plan.original.params


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    graph, small = halved(Blocks().to(dtype), IMAGE.to(dtype))
    assert names(graph) == ["stem", "body.0", "body.2", "hidden"]
    assert small(IMAGE.to(dtype)).dtype == dtype


def test_under_autocast_the_graph_is_the_same():
    model = Blocks()
    plain = prunella.trace(model, IMAGE)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        graph, small = halved(model, IMAGE)
        assert small(IMAGE).dtype is torch.bfloat16
    assert [g.name for g in graph.groups] == [g.name for g in plain.groups]


def test_a_forward_that_turns_autocast_on_by_itself():
    def forward(m, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = torch.relu(m.first(x))
        return m.last(y.float())

    model = Net(forward, first=nn.Conv2d(3, 6, 1), last=nn.Conv2d(6, 2, 1))
    group = of(prunella.trace(model, IMAGE), "first.weight", 0)
    assert not group.prunable
    assert "whose weight is not a stored tensor (convolution)" in group.reason


# -- paths that depend on values -------------------------------------------------------------------


def test_a_path_that_depends_on_values_is_really_run():
    def forward(m, x):
        y = torch.relu(m.first(x))
        if x.mean() > 1e6:
            raise RuntimeError("never")
        return m.last(y)

    model = Net(forward, first=nn.Conv2d(3, 6, 1), last=nn.Conv2d(6, 2, 1))
    graph, small = halved(model, IMAGE)
    assert names(graph) == ["first"]
    assert small.last.in_channels == 3
    assert prunella.cost(small, IMAGE).macs == 64 * (3 * 3 + 3 * 2)


# -- what is left whole ----------------------------------------------------------------------------


@pytest.mark.parametrize("layer", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_are_left_whole_and_say_so(layer):
    model = Net(
        lambda m, x: m.last(torch.relu(m.middle(m.memory(m.first(x))[0]))),
        first=nn.Linear(3, 6), memory=layer(6, 8, batch_first=True), middle=nn.Linear(8, 6),
        last=nn.Linear(6, 2),
    )  # fmt: skip
    graph, small = halved(model, torch.randn(1, 5, 3))
    assert names(graph) == ["middle"]
    for tensor, axis in (("first.weight", 0), ("memory.weight_ih_l0", 0)):
        assert "recurrent layers are left whole" in of(graph, tensor, axis).reason
    assert small.memory.hidden_size == 8


def test_the_screen_stays_clean_while_cuts_are_tried(capfd):
    model = Net(
        lambda m, x: m.last(torch.relu(m.first(x)).view(-1, 6 * 64)),
        first=nn.Conv2d(3, 6, 1), last=nn.Linear(384, 2),
    )  # fmt: skip
    assert not prunella.trace(model, IMAGE).prunable
    assert capfd.readouterr() == ("", "")
