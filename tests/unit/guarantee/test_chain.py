"""Which networks are plain chains, and how much signs cancel in them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import prunella
from small_models import Net


def bounds(model, x, *, held_out=None, alpha=0.5, **groups):
    """Half of each group goes; x (N, ...) are the samples of the scores."""
    graph = prunella.trace(model, x[:1])
    scores = prunella.sensitivities(model, graph, [x])
    kept = {group.name: range(group.size // 2) for group in graph.prunable}
    plan = prunella.Plan.from_kept(graph, {name: list(units) for name, units in kept.items()})
    return prunella.a_priori(
        model, plan, scores, [torch.rand(12, *x.shape[1:])] if held_out is None else held_out,
        alpha=alpha,
    )  # fmt: skip


def settled(model):
    """Batch norms with statistics, biases and scales of their own."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return model.eval()


def test_cancellation_is_that_of_the_sums_with_their_bias_and_batch_norm():
    model = settled(nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(6, 3),
    ))  # fmt: skip
    held_out = torch.rand(20, 2, 8, 8)
    found = bounds(model, torch.rand(8, 2, 8, 8), held_out=[held_out], alpha=0.9)
    assert found.network.reason == ""
    assert [(layer.name, layer.groups) for layer in found.network.layers] == [
        ("4", ("0",)), ("10", ("4",))
    ]  # fmt: skip
    with torch.no_grad():
        a = F.max_pool2d(F.relu(model[1](model[0](held_out)))[:, :], 2).double()
        conv, norm, last = model[4].double(), model[5].double(), model[10].double()
        scale = norm.weight.abs() / (norm.running_var + norm.eps).sqrt()
        total = F.conv2d(a, conv.weight.abs(), stride=2, padding=1) * scale[:, None, None]
        z = norm(conv(a))
        first = (total / z.abs()).flatten(1).amax(1).clamp(min=1)
        b = F.relu(z).mean((2, 3))
        second = (b @ last.weight.abs().t() / last(b).abs()).amax(1).clamp(min=1)
    # alpha = 0.9 for 4 limits: the 17th smallest of 20, ceil(21 * (1 - 0.225))
    for layer, values in zip(found.network.layers, (first, second), strict=True):
        assert layer.kappa == pytest.approx(float(values.sort().values[16]), rel=1e-3)
    kappas = [layer.kappa for layer in found.network.layers]
    assert found.network.layers[0].allowed == pytest.approx(1 / (4 * kappas[0] * kappas[1]))
    assert found.network.layers[1].allowed == pytest.approx(1 / (4 * kappas[1]))
    assert found.network.share == 4


def test_what_comes_before_the_first_cut_layer_may_be_anything():
    def forward(net, x):
        x = F.gelu(net.a(x)) + torch.sin(x)
        return net.c(F.relu(net.b(x)))

    model = Net(forward, a=nn.Linear(6, 6), b=nn.Linear(6, 8), c=nn.Linear(8, 2))
    graph = prunella.trace(model, torch.rand(1, 6))
    scores = prunella.sensitivities(model, graph, [torch.rand(8, 6)])
    plan = prunella.Plan.from_kept(graph, {"b": [0, 1, 2]})
    found = prunella.a_priori(model, plan, scores, [torch.rand(12, 6)], alpha=0.5)
    assert [layer.name for layer in found.network.layers] == ["c"]


def test_a_layer_that_is_not_cut_passes_errors_on():
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 8), nn.Linear(8, 2))
    graph = prunella.trace(model, torch.rand(1, 3))
    scores = prunella.sensitivities(model, graph, [torch.rand(8, 3)])
    plan = prunella.Plan.from_kept(graph, {"0": [0, 1, 2, 3, 4, 5]})
    layers = prunella.a_priori(model, plan, scores, [torch.rand(12, 3)], alpha=0.5).network.layers
    assert [(layer.name, layer.groups) for layer in layers] == [("2", ("0",)), ("3", ())]
    assert layers[0].allowed == pytest.approx(1 / (2 * layers[0].kappa * layers[1].kappa))
    assert layers[1].allowed is None


def shortcut(net, x):
    a = F.relu(net.a(x))
    return net.c(a + F.relu(net.b(a)))


def side_by_side(net, x):
    a = F.relu(net.a(x))
    return net.b(a) * net.c(a)


def earlier(net, x):
    z = net.b(F.relu(net.a(x)))
    F.relu(z)
    return net.c(z)


def gated(net, x):
    z = net.b(F.relu(net.a(x)))
    return net.c(F.relu(z) * z)


def two_outputs(net, x):
    z = net.b(F.relu(net.a(x)))
    return net.c(F.relu(z)), z


@pytest.mark.parametrize(
    ("forward", "reason"),
    [
        (shortcut, "add is neither a layer, a ReLU, a pooling nor a change of shape"),
        (gated, r"its layers are no plain chain \(mul takes two results of layers\)"),
        (side_by_side, "cut layers stand side by side, not in a chain"),
        (earlier, r"its layers are no plain chain \(addmm takes an earlier result again\)"),
        (two_outputs, "its output is not the result of the last layer alone"),
        (lambda net, x: net.c(F.gelu(net.b(F.relu(net.a(x))))), "gelu is neither a layer"),
        (lambda net, x: net.c(net.b(F.relu(net.a(x))) + 1), "add is neither a layer"),
        (lambda net, x: net.c(F.relu(net.b(F.relu(net.a(x)))).log_softmax(1)), "_log_softmax is"),
    ],
)
def test_other_networks_get_a_reason(forward, reason):
    width = 6
    model = Net(
        forward, a=nn.Linear(4, width), b=nn.Linear(width, width), c=nn.Linear(width, width)
    )
    found = bounds(model, torch.rand(8, 4))
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(found.network.reason)
    assert found.network.layers == ()
    assert found.network.eps == {}
    assert found.network.vacuous("deterministic")
    assert found.network.statement == f"Network: not applicable, {found.network.reason}."
    assert found.by_group  # the layers have their bounds nevertheless


@pytest.mark.parametrize(
    ("layers", "reason"),
    [
        ([nn.Conv2d(4, 4, 3), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(36, 2)],
         "avg_pool2d is not behind a ReLU"),
        ([nn.ReLU(), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.BatchNorm2d(4),
          nn.Flatten(), nn.Linear(144, 2)], "batch norm does not directly follow a layer"),
    ],
)  # fmt: skip
def test_order_matters(layers, reason):
    model = settled(nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), *layers))
    assert bounds(model, torch.rand(8, 2, 8, 8)).network.reason == reason


def test_indices_of_a_pooling_are_results_too():
    def forward(net, x):
        z, where = F.max_pool2d(F.relu(net.b(F.relu(net.a(x)))), 2, return_indices=True)
        return net.c(z.flatten(1) + where.flatten(1))

    model = Net(forward, a=nn.Conv2d(2, 4, 3), b=nn.Conv2d(4, 4, 3), c=nn.Linear(16, 2))
    reason = bounds(model, torch.rand(8, 2, 8, 8)).network.reason
    assert "takes an earlier result again" in reason or "two results" in reason


def test_a_path_that_depends_on_the_sample_is_no_chain():
    def forward(net, x):
        a = F.relu(net.a(x))
        a = F.relu(net.b(a)) if float(x.sum()) > 0 else a
        return net.c(a)

    model = Net(forward, a=nn.Linear(4, 6), b=nn.Linear(6, 6), c=nn.Linear(6, 3))
    graph = prunella.trace(model, torch.rand(1, 4))
    scores = prunella.sensitivities(model, graph, [torch.rand(8, 4)])
    plan = prunella.Plan.from_kept(graph, {"a": [0, 1, 2], "b": [0, 1, 2]})
    held_out = torch.rand(12, 4)
    held_out[6:] *= -1
    found = prunella.a_priori(model, plan, scores, [held_out], alpha=0.5)
    assert found.network.reason == "its path depends on the sample"


def test_an_output_of_exactly_0_has_no_relative_bound():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]))
        model[0].bias.zero_()
        model[2].weight.copy_(torch.tensor([[1.0, -1, 0, 0]]))  # always 0
    found = bounds(model, torch.rand(8, 3), alpha=0.5)
    assert found.network.layers[0].kappa == np.inf
    assert found.network.vacuous("deterministic")
    assert found.network.statement == (
        "Network: deterministic, random, hybrid: vacuous, errors grow too large on the way."
    )


def test_a_reader_that_does_not_run_is_not_taken_for_exact():
    def forward(net, x):
        a = F.relu(net.a(x))
        return net.b(a) + net.c(a) if float(x.sum()) > 0 else net.b(a)

    model = Net(forward, a=nn.Linear(4, 6), b=nn.Linear(6, 2), c=nn.Linear(6, 2))
    found = bounds(model, torch.rand(8, 4), held_out=[-torch.rand(12, 4)])
    assert found.network.reason == (
        "c.weight reads a cut group, but no layer with it was seen to run"
    )
    assert found.by_group["a"].readers == ("b",)


def test_batch_norm_without_statistics_of_its_own_is_no_scaling():
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3),
        nn.BatchNorm2d(4, track_running_stats=False),
        nn.Flatten(),
        nn.Linear(64, 2),
    )
    found = bounds(model, torch.rand(8, 2, 8, 8))
    assert found.network.reason == "batch norm uses the statistics of the batch"
