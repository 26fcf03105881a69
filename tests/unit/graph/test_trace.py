"""The channel graph of small networks whose right answer is known by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import prunella
from prunella.core.errors import GraphError, InputError


class Net(nn.Module):
    """A module from a constructor of layers and a forward function."""

    def __init__(self, forward, **layers):
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)
        self._forward = forward

    def forward(self, *inputs):
        return self._forward(self, *inputs)


def members(graph, name):
    return {(m.tensor, m.axis, m.role) for m in graph.group(name).members}


def names(graph):
    return [group.name for group in graph.prunable]


def halved(model, example):
    """Keep every other unit of every group; apply verifies equality with the masked original."""
    graph = prunella.trace(model, example)
    kept = {g.name: torch.arange(0, g.size, 2) for g in graph.prunable}
    plan = prunella.Plan.from_kept(graph, kept)
    small = plan.apply(model)
    assert prunella.cost(small, example) == plan.achieved
    return graph, small


IMAGE = torch.randn(1, 3, 8, 8)


def test_chain_with_batch_norm():
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3))
    graph, small = halved(model, IMAGE)
    assert names(graph) == ["0"]
    assert members(graph, "0") == {
        ("0.weight", 0, "producer"),
        ("0.bias", 0, "producer"),
        ("1.weight", 0, "carrier"),
        ("1.bias", 0, "carrier"),
        ("1.running_mean", 0, "carrier"),
        ("1.running_var", 0, "carrier"),
        ("3.weight", 1, "consumer"),
    }
    frozen = {group.name: group.reason for group in graph.groups if not group.prunable}
    assert "reads the model's input" in frozen["0 (input)"]
    assert frozen["3"] == "is an output of the model"
    assert (small[0].out_channels, small[1].num_features, small[3].in_channels) == (3, 3, 3)


def test_flatten_gives_each_unit_its_map():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5))
    graph, small = halved(model, IMAGE)
    (reader,) = (m for m in graph.group("0").members if m.tensor == "3.weight")
    assert reader.indices.shape == (4, 36)
    assert reader.indices[1].tolist() == list(range(36, 72))
    assert small[3].in_features == 72


def test_residual_sum_ties_both_branches():
    model = Net(
        lambda m, x: m.last(F.relu(m.b(F.relu(m.a(x))) + m.short(x))),
        a=nn.Conv2d(3, 8, 3, padding=1),
        b=nn.Conv2d(8, 6, 3, padding=1),
        short=nn.Conv2d(3, 6, 1),
        last=nn.Conv2d(6, 2, 1),
    )
    graph, _ = halved(model, IMAGE)
    assert names(graph) == ["a", "b"]
    assert ("short.weight", 0, "producer") in members(graph, "b")


def test_dense_concatenation_keeps_sources_apart():
    def forward(m, x):
        a = F.relu(m.a(x))
        b = F.relu(m.b(a))
        return m.last(torch.cat([a, b], dim=1))

    model = Net(forward, a=nn.Conv2d(3, 4, 1), b=nn.Conv2d(4, 6, 1), last=nn.Conv2d(10, 2, 1))
    graph, small = halved(model, IMAGE)
    assert names(graph) == ["a", "b"]
    (reader,) = (m for m in graph.group("b").members if m.tensor == "last.weight")
    assert reader.indices.reshape(-1).tolist() == list(range(4, 10))
    assert small.last.in_channels == 5


def test_chunk_makes_groups_of_one_layer_with_distinct_names():
    def forward(m, x):
        left, right = m.a(x).chunk(2, dim=1)
        return m.left(left) + m.right(right)

    model = Net(forward, a=nn.Conv2d(3, 8, 1), left=nn.Conv2d(4, 2, 1), right=nn.Conv2d(4, 2, 1))
    graph = prunella.trace(model, IMAGE)
    assert names(graph) == ["a[0:]", "a[4:]"]


def test_shuffle_moves_labels_with_the_channels():
    def forward(m, x):
        y = m.a(x)
        n, _, h, w = y.shape
        y = y.view(n, 2, -1, h, w).transpose(1, 2).reshape(n, -1, h, w)
        return m.last(y)

    model = Net(forward, a=nn.Conv2d(3, 6, 1), last=nn.Conv2d(6, 2, 1))
    graph, small = halved(model, IMAGE)
    (reader,) = (m for m in graph.group("a").members if m.tensor == "last.weight")
    # Equal places of both halves go together, so that the halves stay equal.
    assert graph.group("a").members[0].indices.tolist() == [[0, 3], [1, 4], [2, 5]]
    assert reader.indices.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert small.last.in_channels == 4


def test_depthwise_convolution_carries():
    model = nn.Sequential(
        nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 3, groups=6), nn.ReLU6(), nn.Conv2d(6, 2, 1)
    )
    graph, small = halved(model, IMAGE)
    assert ("1.weight", 0, "carrier") in members(graph, "0")
    assert (small[1].groups, small[1].in_channels, small[1].out_channels) == (3, 3, 3)


def test_squeeze_excite_scales_are_tied_to_their_channels():
    def forward(m, x):
        y = F.silu(m.a(x))
        gate = torch.sigmoid(m.up(F.relu(m.down(y.mean((2, 3), keepdim=True)))))
        return m.last(y * gate)

    model = Net(
        forward,
        a=nn.Conv2d(3, 8, 1),
        down=nn.Conv2d(8, 4, 1),
        up=nn.Conv2d(4, 8, 1),
        last=nn.Conv2d(8, 2, 1),
    )
    graph, _ = halved(model, IMAGE)
    assert names(graph) == ["a", "down"]
    assert ("up.weight", 0, "producer") in members(graph, "a")


def test_shared_layer_is_one_tensor():
    model = Net(
        lambda m, x: m.last(F.relu(m.twice(F.relu(m.twice(F.relu(m.a(x))))))),
        a=nn.Linear(3, 6),
        twice=nn.Linear(6, 6),
        last=nn.Linear(6, 2),
    )
    graph, small = halved(model, torch.randn(1, 3))
    assert names(graph) == ["a"]
    assert members(graph, "a") >= {("twice.weight", 0, "producer"), ("twice.weight", 1, "consumer")}
    assert small.twice.weight.shape == (3, 3)


def test_tied_parameters_stay_tied():
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 4), nn.Linear(4, 6), nn.ReLU())
    model[3].weight = model[0].weight
    model.append(nn.Linear(6, 2))
    _, small = halved(model, torch.randn(1, 4))
    assert small[3].weight is small[0].weight
    assert small[0].weight.shape[0] == 3


def test_linear_over_tokens():
    model = nn.Sequential(nn.Linear(5, 8), nn.GELU(), nn.Linear(8, 5))
    graph, _ = halved(model, torch.randn(2, 7, 5))
    assert names(graph) == ["0"]


FROZEN = {
    "constant of fixed size": (
        lambda m, x: m.last(m.a(x) + torch.ones(4, 1, 1)),
        {"a": nn.Conv2d(3, 4, 1), "last": nn.Conv2d(4, 2, 1)},
        "fixed size",
    ),
    "softmax over channels": (
        lambda m, x: m.last(torch.softmax(m.a(x), 1)),
        {"a": nn.Conv2d(3, 4, 1), "last": nn.Conv2d(4, 2, 1)},
        "softmax over channels",
    ),
    "mean over channels": (
        lambda m, x: m.last(m.a(x).mean(1, keepdim=True)),
        {"a": nn.Conv2d(3, 4, 1), "last": nn.Conv2d(1, 2, 1)},
        "a reduction over channels",
    ),
    "layer norm": (
        lambda m, x: m.last(m.norm(m.a(x).mean((2, 3)))),
        {"a": nn.Conv2d(3, 4, 1), "norm": nn.LayerNorm(4), "last": nn.Linear(4, 2)},
        "normalisation across channels",
    ),
    "unknown operation": (
        lambda m, x: m.last(torch.cumprod(m.a(x), 1)),
        {"a": nn.Conv2d(3, 4, 1), "last": nn.Conv2d(4, 2, 1)},
        "no rule is known for the operation",
    ),
    "products of activations": (
        lambda m, x: m.last(torch.bmm(m.a(x).flatten(2), m.a(x).flatten(2).mT).unsqueeze(1)),
        {"a": nn.Conv2d(3, 4, 1), "last": nn.Conv2d(1, 2, 1)},
        "a product of two activations",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FROZEN)
def test_what_cannot_be_cut_is_frozen_with_its_reason(case):
    forward, layers, reason = FROZEN[case]
    graph = prunella.trace(Net(forward, **layers), IMAGE)
    (group,) = (g for g in graph.groups if ("a.weight", 0, "producer") in members(graph, g.name))
    assert not group.prunable
    assert reason in group.reason
    assert "test_trace.py:" in group.reason  # the line of the forward function


def test_frozen_part_does_not_stop_the_rest():
    model = Net(
        lambda m, x: m.last(torch.cumprod(m.b(F.relu(m.a(x))), 1)),
        a=nn.Conv2d(3, 4, 1),
        b=nn.Conv2d(4, 4, 1),
        last=nn.Conv2d(4, 2, 1),
    )
    graph, _ = halved(model, IMAGE)
    assert names(graph) == ["a"]


def test_pad_beside_channels_is_no_obstacle_to_others():
    """Zeros in a concatenation belong to no unit; the channels beside them can still go."""
    model = Net(
        lambda m, x: m.last(torch.cat([m.a(x), x], dim=1)),
        a=nn.Conv2d(3, 4, 1),
        last=nn.Conv2d(7, 2, 1),
    )
    graph, small = halved(model, IMAGE)
    assert names(graph) == ["a"]
    assert small.last.in_channels == 2 + 3


def test_padded_shortcut_freezes_only_what_meets_the_padding():
    """The parameter-free shortcut of residual networks: zeros for channels that are not there."""
    model = Net(
        lambda m, x: m.last(F.pad(m.a(x), (0, 0, 0, 0, 1, 1)) + m.b(x)),
        a=nn.Conv2d(3, 4, 1),
        b=nn.Conv2d(3, 6, 1),
        last=nn.Conv2d(6, 2, 1),
    )
    graph, small = halved(model, IMAGE)
    (member,) = (m for m in graph.group("a").members if m.tensor == "b.weight")
    assert member.indices.reshape(-1).tolist() == [1, 2, 3, 4]
    assert any("fixed number" in g.reason for g in graph.groups if not g.prunable)
    assert small.b.out_channels == 4


def test_transposed_convolution_is_counted_to_the_unit():
    model = nn.Sequential(
        nn.Conv2d(3, 6, 1), nn.ReLU(), nn.ConvTranspose2d(6, 4, 3, stride=2), nn.ReLU(),
        nn.Conv2d(4, 2, 1),
    )  # fmt: skip
    graph, _ = halved(model, IMAGE)
    assert graph.other_macs == 0
    assert names(graph) == ["0", "2"]


def test_tied_autoencoder_is_frozen():
    model = Net(
        lambda m, x: (F.linear(torch.sigmoid(m.e(x)), m.e.weight.t()), m.head(m.e(x))),
        e=nn.Linear(6, 4),
        head=nn.Linear(4, 3),
    )
    graph = prunella.trace(model, torch.randn(2, 6))
    (group,) = (g for g in graph.groups if ("e.weight", 0, "producer") in members(graph, g.name))
    assert "both makes and reads" in group.reason


def test_layers_without_modules_have_names_of_their_own():
    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            shapes = ((6, 4), (5, 6), (2, 5))
            self.w = nn.ParameterList(torch.randn(shape) for shape in shapes)

        def forward(self, x):
            for w in self.w[:-1]:
                x = F.relu(F.linear(x, w))
            return F.linear(x, self.w[2])

    graph, _ = halved(Bare(), torch.randn(1, 4))
    assert len({g.name for g in graph.groups}) == len(graph.groups)
    assert len(graph.prunable) == 2


def test_nothing_of_the_model_changes():
    model = prunella.networks.resnet20()
    model.train()
    model.layer2.eval()
    flags = [m.training for m in model.modules()]
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    generator = torch.get_rng_state()
    prunella.trace(model, torch.zeros(1, 3, 32, 32))
    assert [m.training for m in model.modules()] == flags
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_names_and_order_are_the_same_every_time():
    first, second = (
        prunella.trace(prunella.networks.densenet22(), torch.zeros(1, 3, 32, 32)) for _ in range(2)
    )
    assert [g.name for g in first.groups] == [g.name for g in second.groups]
    assert len({g.name for g in first.groups}) == len(first.groups)


def test_multiply_adds_between_activations_are_counted():
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.k = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            return self.q(x) @ self.k(x).mT

    graph = prunella.trace(Attention(), torch.randn(1, 5, 4))
    assert graph.other_macs == 5 * 5 * 4


def test_errors():
    with pytest.raises(InputError, match=r"cannot be run on the example inputs \(shapes \(1, 4"):
        prunella.trace(nn.Linear(3, 2), torch.zeros(1, 4))
    with pytest.raises(InputError, match="without any tensor"):
        prunella.trace(nn.Linear(3, 2), 7)
    with pytest.raises(InputError, match="has no parameters"):
        prunella.trace(nn.ReLU(), torch.zeros(1, 4))
    lonely = prunella.trace(nn.Linear(3, 2), torch.zeros(1, 3))
    with pytest.raises(GraphError, match=r"no group of channels.*is an output of the model"):
        prunella.plan(lonely, None, prunella.Params(0.5), method="random")


def test_many_frozen_groups_are_told_by_kind():
    layers = [nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)) for _ in range(20)]
    graph = prunella.trace(nn.Sequential(*layers, nn.Linear(4, 2)), torch.randn(1, 4))
    assert len(graph.groups) > 20
    with pytest.raises(GraphError) as caught:
        prunella.plan(graph, None, prunella.Params(0.5), method="random")
    words = str(caught.value)
    assert (
        f"20 of {len(graph.groups)} groups, 0.0 for one: a normalisation across channels" in words
    )
    assert "is an output of the model" in words
    assert len(words) < 1500
