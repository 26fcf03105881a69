"""Two plans in a row as one: the same tensors, the same cost, one file for a fresh original."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import prunella
from prunella.core.errors import InputError
from prunella.core.samples import SampleIds
from prunella.files.plans import plan_from_json, plan_to_json
from prunella.surgery import cut

IMAGE = torch.zeros(1, 2, 6, 6)


class Random(nn.Module):
    """A chain of blocks drawn by the test, with everything that gives units several positions."""

    def __init__(self, kinds, widths, *, flat):
        super().__init__()
        self.kinds, self.flat = kinds, flat
        self.stem = nn.Conv2d(2, 5, 3, padding=1)
        self.register_buffer("gain", torch.rand(5, 1, 1) + 0.5, persistent=False)
        self.blocks = nn.ModuleList()
        width = 5
        for kind, wide in zip(kinds, widths, strict=True):
            if kind == "residual":
                block = nn.Sequential(nn.Conv2d(width, wide, 1), nn.Conv2d(wide, width, 1))
            elif kind == "depthwise":
                block = nn.Conv2d(width, width, 3, padding=1, groups=width)
            else:
                block = nn.Sequential(nn.Conv2d(width, wide, 3, padding=1), nn.BatchNorm2d(wide))
                width = width + wide if kind == "dense" else wide
            self.blocks.append(block)
        self.head = nn.Linear(width * 36 if flat else width, 8)
        self.last = nn.Linear(8, 3)

    def forward(self, x):
        x = torch.tanh(self.stem(x)) * self.gain
        for kind, block in zip(self.kinds, self.blocks, strict=True):
            y = block(x)
            if kind == "residual":
                y = x + y
            x = torch.relu(torch.cat([x, y], dim=1) if kind == "dense" else y)
        x = x.flatten(1) if self.flat else x.mean((2, 3))
        return self.last(torch.sigmoid(self.head(x)))


def drawn(data, graph):
    """Any units of each prunable group."""
    return {
        group.name: sorted(
            data.draw(
                st.sets(st.integers(0, group.size - 1), min_size=1, max_size=group.size),
                label=group.name,
            )
        )
        for group in graph.prunable
    }


def tensors(model):
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_one_plan_removes_what_two_in_a_row_remove(data):
    blocks = st.sampled_from(["plain", "residual", "dense", "depthwise"])
    kinds = data.draw(st.lists(blocks, min_size=0, max_size=3), label="kinds")
    widths = [data.draw(st.integers(1, 6), label="width") for _ in kinds]
    torch.manual_seed(data.draw(st.integers(0, 1000), label="seed"))
    model = Random(kinds, widths, flat=data.draw(st.booleans(), label="flat"))
    graph = prunella.trace(model, IMAGE)
    first = prunella.Plan.from_kept(graph, drawn(data, graph))
    small = cut(model, graph, first.kept)
    smaller_graph = prunella.trace(small, IMAGE)
    if not smaller_graph.prunable:  # one unit is left everywhere
        return
    second = prunella.Plan.from_kept(smaller_graph, drawn(data, smaller_graph))
    smaller = cut(small, smaller_graph, second.kept)

    both = prunella.compose(first, second)
    assert both.graph is graph
    expected, found = tensors(smaller), tensors(both.apply(model))
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
    assert both.achieved == second.achieved
    assert both.original == first.original


@pytest.mark.parametrize(
    ("network", "shape"),
    [("resnet20", (3, 32, 32)), ("densenet22", (3, 32, 32)), ("lenet5", (1, 28, 28))],
)
def test_three_steps_are_one_file_for_a_fresh_original(network, shape, tmp_path):
    factory = getattr(prunella.networks, network)
    example = torch.zeros(1, *shape)
    torch.manual_seed(0)
    model = factory()
    plans, small, total = [], model, None
    for seed in range(3):
        graph = prunella.trace(small, example)
        plan = prunella.plan(graph, None, prunella.Params(0.7), "random", seed=seed)
        small = plan.apply(small)
        total = plan if total is None else prunella.compose(total, plan)
        plans.append(plan)
    assert total.achieved == plans[-1].achieved
    assert total.achieved.params < 0.36 * total.original.params

    path = tmp_path / "small.safetensors"
    prunella.save(path, small, total)
    loaded = prunella.load(path, factory())
    assert all(torch.equal(t, loaded.state_dict()[name]) for name, t in small.state_dict().items())
    again = prunella.load_plan(path)
    assert {n: k.tolist() for n, k in again.kept.items()} == {
        n: k.tolist() for n, k in total.kept.items()
    }
    other_way = prunella.compose(plans[0], prunella.compose(plans[1], plans[2]))
    assert all(torch.equal(total.kept[name], units) for name, units in other_way.kept.items())


# -- what the plan says of itself ----------------------------------------------------------------


@pytest.fixture
def two():
    """A model, the plan for it, and the plan for what is left."""
    model = nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(216, 5)
    )
    graph = prunella.trace(model, IMAGE)
    seen = SampleIds.of(torch.arange(6).reshape(3, 2))
    first = prunella.Plan.from_kept(graph, {"0": [0, 2, 3, 5]}, method="pfp", seed=3, samples=seen)
    small = first.apply(model)
    more = SampleIds.of(torch.arange(4, 8).reshape(2, 2))
    second = prunella.Plan.from_kept(
        prunella.trace(small, IMAGE),
        {"0": [1, 3]},
        requested=prunella.Params(0.5),
        method="filter-norm",
        seed=4,
        samples=more,
    )
    return model, first, second


def test_units_are_those_of_the_original_and_samples_those_of_both(two):
    _, first, second = two
    both = prunella.compose(first, second)
    assert both.kept["0"].tolist() == [2, 5]
    assert (both.method, both.seed, both.requested) == ("pfp, then filter-norm", 4, None)
    assert both.samples.hashes == first.samples.hashes | second.samples.hashes
    assert len(both.samples.hashes) == 4  # one sample was seen by both
    same = prunella.compose(first, replace(second, method="pfp"))
    assert same.method == "pfp"


def test_groups_are_matched_by_their_positions_not_by_name(two):
    model, first, second = two
    graph = second.graph
    renamed = replace(graph, groups=tuple(replace(g, name=f"new {g.name}") for g in graph.groups))
    named_anew = prunella.Plan.from_kept(renamed, {"new 0": [1, 3]})
    both = prunella.compose(first, named_anew)
    assert both.kept["0"].tolist() == [2, 5]
    # Nor by the order of units.
    turned = replace(
        graph,
        groups=tuple(
            replace(g, members=tuple(replace(m, indices=m.indices.flip(0)) for m in g.members))
            for g in graph.groups
        ),
    )
    both = prunella.compose(first, prunella.Plan.from_kept(turned, {"0": [1, 3]}))
    assert both.kept["0"].tolist() == [0, 3]
    assert both.apply(model)[0].out_channels == 2


def test_plans_read_from_files_can_be_composed(two):
    _, first, second = two
    read = [plan_from_json(plan_to_json(plan), source="here") for plan in (first, second)]
    assert prunella.compose(*read).kept["0"].tolist() == [2, 5]


def test_a_plan_that_keeps_all_changes_nothing(two):
    _, first, second = two
    everything = prunella.Plan.from_kept(second.graph, {})
    assert prunella.compose(first, everything).kept["0"].tolist() == [0, 2, 3, 5]


# -- refusals ------------------------------------------------------------------------------------


def test_plans_that_do_not_follow_one_another(two):
    _, first, second = two
    message = (
        r"do not follow one another: the first leaves '0.weight' with shape \(4, 2, 3, 3\), but in "
        r"the network of the second it has shape \(6, 2, 3, 3\); trace the network"
    )
    with pytest.raises(InputError, match=message):
        prunella.compose(first, first)
    with pytest.raises(InputError, match="do not follow one another"):
        prunella.compose(second, first)
    other = prunella.trace(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2)), torch.zeros(1, 2))
    with pytest.raises(InputError, match="do not follow one another"):
        prunella.compose(first, prunella.Plan.from_kept(other, {}))


def test_units_that_the_original_does_not_let_go(two):
    _, first, second = two
    group = second.graph.group("0")
    producer = tuple(m for m in group.members if m.role == "producer")
    rest = tuple(m for m in group.members if m.role != "producer")
    others = tuple(g for g in second.graph.groups if g.name != "0")

    # A graph that claims more freedom than there is: rows that go without what reads them.
    loose = replace(group, members=producer)
    stuck = replace(group, name="rest", members=rest)
    freer = replace(second.graph, groups=(loose, stuck, *others))
    plan = prunella.Plan.from_kept(freer, {"0": [1, 3]})
    with pytest.raises(InputError, match=r"parts what goes together.*'1.weight', positions 0, 3\."):
        prunella.compose(first, plan)

    # What is unknown in the original, or frozen there.
    elsewhere = replace(group.members[0], tensor="none", axis=0)
    strange = replace(second.graph, groups=(replace(group, members=(elsewhere,)),))
    plan = prunella.Plan.from_kept(strange, {"0": [0]})
    with pytest.raises(InputError, match=r"axis 0 of 'none', positions 1, 2, 3\."):
        prunella.compose(first, plan)
    tail = replace(group, name="tail", size=2, members=(replace(elsewhere, indices=_two()),))
    fixed = replace(first.graph.group("0"), prunable=False, reason="is needed")
    rigid = replace(first.graph, groups=(fixed, tail))
    plan = prunella.Plan.from_kept(first.graph, {"0": [0, 2]})
    with pytest.raises(
        InputError, match=r"removes or scales what must stay.*'0.weight', positions 1, 3, 4"
    ):
        prunella.compose(prunella.Plan.from_kept(rigid, {}), plan)
    scaling = prunella.Plan.from_kept(first.graph, {}, scales={"0": [2.0, 1.0, 1.0, 1.0, 3.0, 1.0]})
    with pytest.raises(
        InputError, match=r"removes or scales what must stay.*'4.weight', positions 0, "
    ):
        prunella.compose(prunella.Plan.from_kept(rigid, {}), scaling)


def _two():
    return torch.arange(2)[:, None]
