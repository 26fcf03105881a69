"""What a cut keeps: flags, types, layout, ties, hooks, names and attributes, and the original."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import prunella
from prunella.core.errors import InputError, SurgeryError
from prunella.graph import labelled_run
from prunella.surgery import masked, verified_cut
from prunella.surgery import verify as verification

IMAGE = torch.randn(1, 3, 8, 8)


class Net(nn.Module):
    """A module from a constructor of layers and a forward function."""

    def __init__(self, forward, **layers):
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)
        self._forward = forward

    def forward(self, *inputs):
        return self._forward(self, *inputs)


def cnn():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 6, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(6 * 36, 5),
    )


def halved(model, example):
    """Keep every other unit of every group."""
    graph = prunella.trace(model, example)
    plan = prunella.Plan.from_kept(
        graph, {group.name: torch.arange(0, group.size, 2) for group in graph.prunable}
    )
    small = plan.apply(model)
    assert prunella.cost(small, example) == plan.achieved
    return plan, small


# -- tensors -------------------------------------------------------------------------------------


def test_requires_grad_of_each_parameter_is_kept():
    model = cnn()
    model[0].weight.requires_grad_(False)
    model[3].bias.requires_grad_(False)
    _, small = halved(model, IMAGE)
    assert {name for name, p in small.named_parameters() if not p.requires_grad} == {
        "0.weight",
        "3.bias",
    }
    assert all(type(p) is nn.Parameter and p.is_leaf for p in small.parameters())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_type_is_kept_and_verified(dtype):
    model = cnn().to(dtype)
    plan, small = halved(model, IMAGE.to(dtype))
    assert {p.dtype for p in small.parameters()} == {dtype}
    assert plan.achieved.bytes < plan.original.bytes
    # The values are the original's, not rounded ones.
    assert torch.equal(small[0].weight, model[0].weight[::2])
    assert torch.equal(small[1].running_var, model[1].running_var[::2])
    assert small(IMAGE.to(dtype)).dtype == dtype


def test_half_precision_of_a_deep_network_is_no_false_alarm():
    model = prunella.networks.resnet20().half()
    graph = prunella.trace(model, torch.randn(1, 3, 32, 32).half())
    kept = {group.name: torch.arange(0, group.size, 2) for group in graph.prunable}
    small, difference = verified_cut(model, graph, kept)
    assert difference < 1e-5
    assert {p.dtype for p in small.parameters()} == {torch.float16}


@pytest.mark.parametrize(
    ("convolution", "norm", "layout", "dims"),
    [
        (nn.Conv2d, nn.BatchNorm2d, torch.channels_last, 2),
        (nn.Conv3d, nn.BatchNorm3d, torch.channels_last_3d, 3),
    ],
)
def test_memory_layout_is_kept(convolution, norm, layout, dims):
    model = nn.Sequential(convolution(3, 8, 3), norm(8), nn.ReLU(), convolution(8, 4, 3))
    example = torch.randn(1, 3, *[6] * dims)
    _, plain = halved(model, example)
    assert all(p.is_contiguous() for p in plain.parameters())
    _, small = halved(model.to(memory_format=layout), example)
    for layer in (0, 3):
        assert not small[layer].weight.is_contiguous()
        assert small[layer].weight.is_contiguous(memory_format=layout)


def test_tied_parameters_stay_tied():
    model = nn.Sequential(
        nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 4), nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)
    )
    model[3].weight, model[3].bias = model[0].weight, model[0].bias
    plan, small = halved(model, torch.randn(1, 4))
    assert small[3].weight is small[0].weight
    assert small[3].bias is small[0].bias
    assert sum(p.numel() for p in small.parameters()) == plan.achieved.params
    assert model[3].weight is model[0].weight


@pytest.mark.parametrize("persistent", [True, False])
def test_buffers_of_channels_are_cut(persistent):
    model = Net(lambda m, x: m.b(m.a(x) * m.scale), a=nn.Conv2d(3, 6, 1), b=nn.Conv2d(6, 2, 1))
    model.register_buffer("scale", torch.rand(6, 1, 1) + 0.5, persistent=persistent)
    model.register_buffer("unused", torch.rand(6))
    _, small = halved(model, IMAGE)
    assert torch.equal(small.scale, model.scale[::2])
    assert torch.equal(small.unused, model.unused)
    assert ("scale" in small.state_dict()) is persistent
    assert not isinstance(small.scale, nn.Parameter)


def test_names_of_the_state_and_the_modules_stay():
    model = prunella.networks.resnet20()
    _, small = halved(model, torch.randn(1, 3, 32, 32))
    assert list(small.state_dict()) == list(model.state_dict())
    assert [n for n, _ in small.named_modules()] == [n for n, _ in model.named_modules()]
    assert type(small) is type(model)


def test_hooks_travel_with_the_copy():
    model = cnn()
    seen = []

    def remember(module, inputs, output):
        seen.append((id(module), output.shape[1]))

    model[0].register_forward_hook(remember)
    _, small = halved(model, IMAGE)
    seen.clear()
    small(IMAGE)
    model(IMAGE)
    assert seen == [(id(small[0]), 4), (id(model[0]), 8)]


def test_parameters_that_belong_to_no_layer_are_cut():
    model = Net(
        lambda m, x: F.linear(F.relu(F.linear(x, m.into)) * m.gain, m.out),
        into=nn.Parameter(torch.randn(6, 4)),
        gain=nn.Parameter(torch.rand(6)),
        out=nn.Parameter(torch.randn(2, 6)),
    )
    _, small = halved(model, torch.randn(1, 4))
    assert {name: tuple(p.shape) for name, p in small.named_parameters()} == {
        "into": (3, 4),
        "gain": (3,),
        "out": (2, 3),
    }
    assert torch.equal(small.gain, model.gain[::2])


# -- attributes of modules -----------------------------------------------------------------------

ATTRIBUTES = {
    "1d": (
        lambda: nn.Sequential(
            nn.Conv1d(3, 6, 3), nn.BatchNorm1d(6), nn.PReLU(6), nn.Conv1d(6, 4, 3, stride=2)
        ),
        (1, 3, 9),
    ),
    "2d": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.PReLU(), nn.Conv2d(6, 4, 3, dilation=2)
        ),
        (1, 3, 9, 9),
    ),
    "3d": (
        lambda: nn.Sequential(
            nn.Conv3d(3, 6, 3), nn.BatchNorm3d(6, affine=False), nn.ReLU(), nn.Conv3d(6, 4, 1)
        ),
        (1, 3, 5, 5, 5),
    ),
    "linear": (
        lambda: nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.PReLU(6), nn.Linear(6, 4)),
        (1, 3),
    ),
}


@pytest.mark.parametrize("case", ATTRIBUTES)
def test_attributes_follow_the_shapes(case):
    build, shape = ATTRIBUTES[case]
    _, small = halved(build(), torch.randn(shape))
    out = "out_features" if case == "linear" else "out_channels"
    into = "in_features" if case == "linear" else "in_channels"
    assert (getattr(small[0], into), getattr(small[0], out)) == (3, 3)
    assert (getattr(small[3], into), getattr(small[3], out)) == (3, 4)
    assert small[1].num_features == 3
    if case in ("1d", "linear"):
        assert small[2].num_parameters == 3
    assert f"{out}=3" in repr(small[0]) or "3, 3" in repr(small[0])


def test_depthwise_groups_follow():
    model = nn.Sequential(
        nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 3, groups=6), nn.ReLU6(), nn.Conv2d(6, 2, 1)
    )
    graph = prunella.trace(model, IMAGE)
    for kept in ([0], [1, 4], [0, 2, 3, 4, 5]):
        small = prunella.Plan.from_kept(graph, {"0": kept}).apply(model)
        layer = small[1]
        assert (layer.groups, layer.in_channels, layer.out_channels) == (len(kept),) * 3
        assert torch.equal(layer.weight, model[1].weight[kept])


def test_transposed_convolution_is_frozen_or_consistent():
    model = nn.Sequential(
        nn.Conv2d(3, 6, 1), nn.ReLU(), nn.ConvTranspose2d(6, 4, 2), nn.ReLU(), nn.Conv2d(4, 2, 1)
    )
    graph = prunella.trace(model, IMAGE)
    kept = {group.name: torch.arange(0, group.size, 2) for group in graph.prunable}
    small = prunella.Plan.from_kept(graph, kept).apply(model)
    layer = small[2]
    assert tuple(layer.weight.shape[:2]) == (layer.in_channels, layer.out_channels)
    assert layer.in_channels == small[0].out_channels == small[0].weight.shape[0]
    assert layer.out_channels == small[4].in_channels == len(layer.bias)


# -- the original --------------------------------------------------------------------------------


def test_nothing_of_the_original_changes():
    model = cnn()
    model.train()
    model[1].eval()
    model(IMAGE).sum().backward()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    objects = [id(p) for p in model.parameters()]
    gradients = [p.grad.clone() for p in model.parameters()]
    flags = [m.training for m in model.modules()]
    generator = torch.get_rng_state()
    _, small = halved(model, IMAGE)
    assert [id(p) for p in model.parameters()] == objects
    assert [m.training for m in model.modules()] == flags
    assert [m.training for m in small.modules()] == flags
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    assert all(torch.equal(a, p.grad) for a, p in zip(gradients, model.parameters(), strict=True))
    assert (model[0].out_channels, model[1].num_features, model[6].in_features) == (8, 8, 216)
    with torch.no_grad():  # nor do the two share memory, uncut tensors included
        for parameter in small.parameters():
            parameter.zero_()
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())


# -- masked --------------------------------------------------------------------------------------


def test_masked_equals_zeros_at_the_consumers_inputs():
    model = Net(
        lambda m, x: m.last(torch.cat([m.b(F.relu(m.a(x))).sigmoid(), m.c(x)], 1).flatten(1)),
        a=nn.Conv2d(3, 8, 3),
        b=nn.Conv2d(8, 5, 1),
        c=nn.Conv2d(3, 4, 3),
        last=nn.Linear(9 * 36, 3),
    ).double()
    example = IMAGE.double()
    graph = prunella.trace(model, example)
    kept = {"a": torch.tensor([1, 2, 7]), "b": torch.tensor([0, 4]), "c": torch.tensor([3])}
    assert {group.name for group in graph.prunable} == set(kept)
    hooked = copy.deepcopy(model)

    def zero(positions):
        def hook(module, inputs):
            changed = inputs[0].clone()
            changed[:, positions] = 0
            return (changed,)

        return hook

    hooked.b.register_forward_pre_hook(zero([0, 3, 4, 5, 6]))
    gone = [1, 2, 3, 5, 6, 7]  # channels of the concatenation: b's 1, 2, 3 and c's 0, 1, 2
    hooked.last.register_forward_pre_hook(zero([36 * c + p for c in gone for p in range(36)]))
    x = torch.randn(4, 3, 8, 8).double()
    expected = hooked(x)
    torch.testing.assert_close(masked(model, graph, kept)(x), expected, rtol=1e-12, atol=1e-12)
    small = prunella.Plan.from_kept(graph, kept).apply(model)
    torch.testing.assert_close(small(x), expected, rtol=1e-12, atol=1e-12)
    assert not torch.allclose(model(x), expected)


# -- refusals ------------------------------------------------------------------------------------


def with_a_constant():
    """A size in `forward` that depends on the width of `b`."""
    return Net(
        lambda m, x: m.last(F.relu(m.b(F.relu(m.a(x)))).view(-1, 6 * 6 * 6)),
        a=nn.Conv2d(3, 8, 1),
        b=nn.Conv2d(8, 6, 3),
        last=nn.Linear(6 * 36, 3),
    )


def test_constant_in_forward_freezes_its_group_and_no_other():
    model = with_a_constant()
    graph = prunella.trace(model, IMAGE)
    assert [group.name for group in graph.prunable] == ["a"]
    reason = graph.group("b").reason
    assert reason.startswith("a size written in the code of the model (test_cut.py:")
    assert "cannot follow a cut" in reason
    _, small = halved(model, IMAGE)
    assert (small.a.out_channels, small.b.out_channels) == (4, 6)


def test_a_cut_that_does_not_run_names_the_group_and_changes_nothing():
    """What the trial cut of `trace` prevents: the labelled run alone cannot see the constant."""
    model = with_a_constant()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    graph = labelled_run.trace(model, IMAGE)
    kept = {group.name: torch.arange(0, group.size, 2) for group in graph.prunable}
    plan = prunella.Plan.from_kept(graph, kept)
    with pytest.raises(SurgeryError, match=r"cannot be run .*the group 'b' fails by itself"):
        plan.apply(model)
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    assert model(IMAGE).shape == (1, 3)
    # Without the group at fault the rest can go.
    small = prunella.Plan.from_kept(graph, {"a": kept["a"]}).apply(model)
    assert small.a.out_channels == 4


def with_an_assertion():
    def forward(m, x):
        y = m.a(x)
        if y.shape[1] != 6:
            raise AssertionError
        return m.last(y)

    return Net(forward, a=nn.Conv2d(3, 6, 1), last=nn.Conv2d(6, 2, 1))


def test_assertion_in_forward_freezes_the_group():
    group = prunella.trace(with_an_assertion(), IMAGE).group("a")
    assert not group.prunable
    assert group.reason.endswith("cannot follow a cut: AssertionError")


def test_assertion_in_a_cut_is_a_surgery_error():
    model = with_an_assertion()
    plan = prunella.Plan.from_kept(labelled_run.trace(model, IMAGE), {"a": [0, 2]})
    with pytest.raises(SurgeryError, match=r"cannot be run \(AssertionError\).*group 'a'"):
        plan.apply(model)


@pytest.mark.parametrize("fault", ["reversed", "shifted"])
def test_a_wrong_cut_is_noticed(monkeypatch, fault):
    from prunella.surgery import apply

    model = cnn()
    graph = prunella.trace(model, IMAGE)
    kept = {group.name: torch.arange(group.size) for group in graph.prunable}
    kept["0"] = torch.tensor([0, 1, 4, 5])
    verified_cut(model, graph, kept)
    right = apply._complement

    def wrong(positions, size, known):
        stays = right(positions, size, known)
        if size != 8:
            return stays
        return stays.flip(0) if fault == "reversed" else (stays + 2) % 8

    # Only the consumer's axis: consistent nonsense on all axes would be a fair other choice.
    calls = itertools.count()
    monkeypatch.setattr(
        apply, "_complement", lambda *given: (right if next(calls) else wrong)(*given)
    )
    with pytest.raises(SurgeryError, match="differs from the masked original by"):
        verified_cut(model, graph, kept)


def test_outputs_that_are_not_numbers_are_no_match():
    nan, inf = float("nan"), float("inf")
    for a, b, difference in (
        ([1.0, nan], [1.0, 2.0], inf),
        ([1.0, 2.0], [1.0, nan], inf),
        ([1.0, inf], [1.0, -inf], inf),
        ([1.0, nan, inf], [2.0, nan, inf], 0.5),  # the original itself has none there
        ([0.0, 0.25], [0.0, 0.0], 0.25),
        ([nan, inf], [nan, inf], inf),  # says nothing
    ):
        found = verification.relative_difference([torch.tensor(a)], [torch.tensor(b)])
        assert found == difference
    assert verification.relative_difference([torch.zeros(2)], [torch.zeros(3)]) == float("inf")
    assert verification.relative_difference([torch.ones(2)], [torch.full((2,), 2.0)]) == 0.5


class TestWrongArchitecture:
    """InputError names the first difference."""

    @pytest.fixture
    def plan(self):
        graph = prunella.trace(cnn(), IMAGE)
        return prunella.Plan.from_kept(graph, {"0": [0, 1]})

    def test_missing_tensor(self, plan):
        model = cnn()
        model[3].bias = None
        with pytest.raises(InputError, match=r"tensor '3.bias' of shape \(6,\), which the given"):
            plan.apply(model)

    def test_other_shape(self, plan):
        model = cnn()
        model[3] = nn.Conv2d(8, 7, 3)
        message = r"'3.weight' has shape \(6, 8, 3, 3\), but .* it has shape \(7, 8, 3, 3\)"
        with pytest.raises(InputError, match=message):
            plan.apply(model)

    def test_extra_parameter(self, plan):
        model = cnn()
        model.append(nn.Linear(5, 5))
        with pytest.raises(InputError, match=r"has a parameter '7.weight' of shape \(5, 5\)"):
            plan.apply(model)

    def test_missing_buffer(self, plan):
        model = cnn()
        model[1] = nn.BatchNorm2d(8, track_running_stats=False)
        with pytest.raises(InputError, match=r"'1.running_mean'"):
            plan.apply(model)

    def test_resnet_of_other_depth(self):
        graph = prunella.trace(prunella.networks.resnet20(), torch.zeros(1, 3, 32, 32))
        plan = prunella.Plan.from_kept(graph, {graph.prunable[0].name: [0, 1]})
        with pytest.raises(InputError, match=r"parameter 'layer1.3.conv1.weight'"):
            plan.apply(prunella.networks.resnet56())
