"""Weights that read drawn channels are scaled: in the cut, in its check, in files and in a row."""

from __future__ import annotations

import copy
import json
import pickle

import pytest
import torch
from torch import nn

import prunella
from prunella.core.errors import FileError, InputError
from prunella.files.plans import plan_from_json, plan_to_json
from prunella.surgery import scaled


class Net(nn.Module):
    """A shortcut with two readers, a depthwise layer, a flattened map, and tied weights."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(1, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.b = nn.Conv2d(6, 6, 3, padding=1)
        self.depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.hidden = nn.Linear(6 * 4, 8)
        self.twin = nn.Linear(8, 8)
        self.again = nn.Linear(8, 8)
        self.again.weight = self.twin.weight
        self.last = nn.Linear(8, 3)

    def forward(self, x):
        x = torch.relu(self.norm(self.a(x)))
        x = torch.relu(self.depthwise(x + self.b(x)))
        x = torch.relu(self.hidden(nn.functional.max_pool2d(x, 2).flatten(1)))
        return self.last(torch.relu(self.again(torch.relu(self.twin(x)))))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture
def graph(model):
    return prunella.trace(model, torch.zeros(1, 1, 4, 4))


def reading(model, name, factors):
    """The model with hooks that multiply what each reader of a group gets."""
    changed = Net().eval()
    changed.load_state_dict(model.state_dict())
    readers = {"a": ("b", "hidden")}[name]
    for reader in readers:

        def hook(module, inputs, reader=reader):
            width = factors if reader == "b" else factors.repeat_interleave(4)
            shape = (1, -1, 1, 1) if reader == "b" else (1, -1)
            return (inputs[0] * width.reshape(shape).float(),)

        getattr(changed, reader).register_forward_pre_hook(hook)
    return changed


def test_scaled_weights_are_scaled_channels(model, graph):
    kept = {g.name: torch.arange(g.size) for g in graph.prunable}
    factors = torch.tensor([0.5, 2.0, 1.0, 3.0, 0.25, 1.5], dtype=torch.float64)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    changed = scaled(model, graph, kept, {"a": factors})
    x = torch.randn(3, 1, 4, 4)
    torch.testing.assert_close(changed(x), reading(model, "a", factors)(x))
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    assert changed.twin.weight is changed.again.weight
    assert changed.a.weight is model.a.weight  # what is not scaled is shared
    assert changed.b.weight.requires_grad
    assert torch.equal(changed.hidden.bias, model.hidden.bias)


def test_the_cut_is_the_masked_and_scaled_original(model, graph):
    units, factors = [4, 0, 3], [2.0, 0.5, 3.0]  # in any order
    plan = prunella.Plan.from_kept(graph, {"a": units}, scales={"a": factors})
    assert plan.kept["a"].tolist() == [0, 3, 4]
    assert plan.scales["a"].tolist() == [0.5, 3.0, 2.0]
    assert plan.scales["a"].dtype == torch.float64
    small, difference = plan.apply_verified(model)
    assert difference < 1e-5
    full = torch.zeros(6, dtype=torch.float64)
    full[units] = torch.tensor(factors, dtype=torch.float64)
    x = torch.randn(3, 1, 4, 4)
    torch.testing.assert_close(small(x), reading(model, "a", full)(x))
    torch.testing.assert_close(
        small.b.weight, model.b.weight[[0, 3, 4]][:, [0, 3, 4]]
        * plan.scales["a"][None, :, None, None].float()
    )  # fmt: skip
    assert small.b.weight.requires_grad


def test_scaling_without_removal(model, graph):
    plan = prunella.Plan.from_kept(graph, {}, scales={"a": torch.full((6,), 2.0)})
    small, difference = plan.apply_verified(model)
    assert difference == 0
    assert torch.equal(small.b.weight, 2 * model.b.weight)
    assert torch.equal(small.a.weight, model.a.weight)


def test_half_precision_keeps_its_type(model, graph):
    model = model.to(torch.bfloat16)
    plan = prunella.Plan.from_kept(graph, {"a": [0, 1]}, scales={"a": [0.3, 1.7]})
    small = plan.apply(model)
    assert small.b.weight.dtype == torch.bfloat16
    expected = model.b.weight[:2, :2].float() * torch.tensor([0.3, 1.7])[None, :, None, None]
    torch.testing.assert_close(small.b.weight.float(), expected, rtol=1e-2, atol=1e-3)


def test_on_the_meta_device(graph):
    plan = prunella.Plan.from_kept(graph, {"a": [0, 1]}, scales={"a": [0.3, 1.7]})
    with torch.device("meta"):
        model = Net()
    small = plan.apply(model)
    assert small.b.weight.shape == (2, 2, 3, 3)


def test_another_architecture_is_named(graph):
    plan = prunella.Plan.from_kept(graph, {"a": [0, 1]}, scales={"a": [0.3, 1.7]})
    other = Net()
    other.hidden = nn.Linear(6 * 4, 9)
    with pytest.raises(InputError, match=r"'hidden.weight' has shape \(8, 24\)"):
        plan.apply(other)


@pytest.mark.parametrize(
    ("scales", "message"),
    [
        ({"a": [1.0, 2.0, 3.0]}, r"one finite number above 0 for each of the 2 units.* got 3"),
        ({"a": [1.0, 0.0]}, "got 2 numbers from 0 to 1"),
        ({"a": [1.0, -1.0]}, "got 2 numbers from -1 to 1"),
        ({"a": [1.0, float("nan")]}, "for each of the 2 units"),
        ({"a": [1.0, float("inf")]}, "for each of the 2 units"),
        ({"a": [[1.0, 1.0]]}, "for each of the 2 units"),
        ({"a": []}, r"got 0 numbers\."),
        ({"magic": [1.0]}, "'magic', which is no prunable group; prunable groups: a, "),
        ({"last": [1.0]}, "'last', which is no prunable group"),
    ],
)
def test_scales_that_are_none(graph, scales, message):
    with pytest.raises(InputError, match=message):
        prunella.Plan.from_kept(graph, {"a": [2, 4]}, scales=scales)


def test_a_plan_without_scales_has_none(graph):
    plan = prunella.Plan.from_kept(graph, {"a": [2, 4]})
    assert plan.scales == {}
    assert "scaled" not in str(plan)


def test_plans_can_be_copied(model, graph):
    plan = prunella.Plan.from_kept(graph, {"a": [2, 4]}, scales={"a": [0.5, 2.0]})
    for again in (copy.deepcopy(plan), pickle.loads(pickle.dumps(plan))):
        assert torch.equal(again.scales["a"], plan.scales["a"])
        x = torch.randn(1, 1, 4, 4)
        assert torch.equal(again.apply(model)(x), plan.apply(model)(x))


def test_in_words(graph):
    plan = prunella.Plan.from_kept(graph, {"a": [2, 4]}, scales={"a": [0.51234, 2.0]})
    (line,) = [line for line in str(plan).splitlines() if "scaled" in line]
    assert line.split() == ["a", "2", "of", "6", "scaled", "0.512", "to", "2"]


# -- files ---------------------------------------------------------------------------------------


def test_files_keep_scales(model, graph, tmp_path):
    plan = prunella.Plan.from_kept(graph, {"a": [4, 0, 3]}, scales={"a": [1 / 3, 0.1, 3e-7]})
    small = plan.apply(model)
    path = tmp_path / "small.safetensors"
    prunella.save(path, small, plan)
    again = prunella.load_plan(path)
    assert list(again.scales) == ["a"]
    assert torch.equal(again.scales["a"], plan.scales["a"])  # to the bit
    x = torch.randn(2, 1, 4, 4)
    # The tensors of the file are scaled already; loading does not scale them again.
    assert torch.equal(prunella.load(path, Net()).eval()(x), small(x))
    assert torch.equal(again.apply(model)(x), small(x))


@pytest.mark.parametrize(
    ("scales", "message"),
    [
        ({"a": [1.0]}, r"scales\.'a' has 1 entries, expected 2"),
        ({"a": [1.0, "2"]}, "expected a number"),
        ({"a": [1.0, True]}, "expected a number"),
        ({"a": [1.0, float("inf")]}, "expected a number|not JSON|Infinity"),
        ({"a": [1.0, 0]}, "one finite number above 0"),
        ({"a": 1.0}, "expected a list"),
        ({"b": [1.0]}, "'b', which is no prunable group"),
        ([], "expected an object"),
    ],
)
def test_damaged_scales_are_refused(graph, scales, message):
    data = json.loads(plan_to_json(prunella.Plan.from_kept(graph, {"a": [2, 4]})))
    assert data["scales"] == {}
    data["scales"] = scales
    with pytest.raises(FileError, match=f"here: the plan in it is damaged .*({message})"):
        plan_from_json(json.dumps(data), source="here")
    del data["scales"]
    with pytest.raises(FileError, match="has no 'scales'"):
        plan_from_json(json.dumps(data), source="here")


# -- two plans in a row --------------------------------------------------------------------------


def in_a_row(model, graph, first, second):
    """One plan for both, its network, and the network of one after the other."""
    first = prunella.Plan.from_kept(graph, **first)
    small = first.apply(model)
    later = prunella.trace(small, torch.zeros(1, 1, 4, 4))
    second = prunella.Plan.from_kept(later, **second)
    both = prunella.compose(first, second)
    return both, both.apply(model), second.apply(small)


def test_scales_in_a_row_are_multiplied(model, graph):
    both, at_once, one_by_one = in_a_row(
        model,
        graph,
        {"kept": {"a": [0, 2, 3, 5]}, "scales": {"a": [2.0, 4.0, 1.0, 0.5]}},
        {"kept": {"a": [1, 2, 3], "hidden": [0, 1, 4]},
         "scales": {"a": [0.5, 3.0, 8.0], "hidden": [2.0, 1.0, 4.0]}},
    )  # fmt: skip
    assert both.kept["a"].tolist() == [2, 3, 5]
    assert both.scales["a"].tolist() == [2.0, 3.0, 4.0]
    assert both.scales["hidden"].tolist() == [2.0, 1.0, 4.0]
    x = torch.randn(3, 1, 4, 4)
    torch.testing.assert_close(at_once(x), one_by_one(x))


@pytest.mark.parametrize("which", ["first", "second", "neither"])
def test_scales_of_one_of_two_plans(model, graph, which):
    first = {"kept": {"a": [0, 2, 3, 5]}}
    second = {"kept": {"a": [1, 3]}}
    if which == "first":
        first["scales"] = {"a": [2.0, 4.0, 1.0, 0.5]}
    if which == "second":
        second["scales"] = {"a": [3.0, 7.0]}
    both, at_once, one_by_one = in_a_row(model, graph, first, second)
    expected = {"first": {"a": [4.0, 0.5]}, "second": {"a": [3.0, 7.0]}, "neither": {}}[which]
    assert {name: values.tolist() for name, values in both.scales.items()} == expected
    x = torch.randn(3, 1, 4, 4)
    torch.testing.assert_close(at_once(x), one_by_one(x))


def test_a_drawn_plan_all_the_way(model, graph):
    generator = torch.Generator().manual_seed(1)
    samples = torch.rand(40, 1, 4, 4, generator=generator)
    scores = prunella.score(model, graph, [samples], "pfp-random")
    plan = prunella.plan(graph, scores, prunella.Params(0.6), "pfp-random", seed=4)
    assert plan.scales
    assert plan.achieved.params <= 0.6 * plan.original.params
    small, difference = plan.apply_verified(model)
    assert difference < 1e-4
    for name, values in plan.scales.items():
        assert values.shape == plan.kept[name].shape
    again = plan_from_json(plan_to_json(plan), source="here")
    assert torch.equal(again.apply(model)(samples), small(samples))


def test_drawn_networks_are_right_on_average():
    """Over many seeds the mean output of a linear network is the original's, within 4 errors."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 40), nn.ReLU(), nn.Linear(40, 2)).eval()
    x = torch.rand(5, 3)
    graph = prunella.trace(net, x[:1])
    scores = prunella.score(net, graph, [x], "pfp-random")
    for method in ("pfp-random", "pfp-systematic"):
        outputs = []
        for seed in range(200):
            plan = prunella.plan(graph, scores, prunella.Params(0.4), method, seed=seed)
            outputs.append(plan.apply(net)(x).detach().double())
        found = torch.stack(outputs)
        error = found.std(0) / len(outputs) ** 0.5
        expected = net(x).detach().double()
        assert bool(((found.mean(0) - expected).abs() < 4 * error + 1e-6).all())
        assert bool((error > 1e-4).all())
