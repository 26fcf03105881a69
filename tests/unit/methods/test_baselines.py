"""The scores of each baseline against a slow, obvious evaluation of its equation."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import prunella
from prunella.allocate import CostModel
from prunella.core.errors import DataError, InputError
from prunella.methods.thinet import greedy_order


class Net(nn.Module):
    """Two producers of one group, a flattened map, a grouped layer, and batch norm at places."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(2, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.b = nn.Conv2d(6, 6, 3, padding=1)
        self.again = nn.BatchNorm2d(6)
        self.c = nn.Conv2d(6, 4, 2, stride=2)
        self.last = nn.BatchNorm2d(4)
        self.head = nn.Linear(4 * 4, 3)

    def forward(self, x):
        x = torch.relu(self.norm(self.a(x)))
        x = torch.relu(x + self.again(self.b(x)))
        x = torch.relu(self.last(self.c(x)))
        return self.head(x.flatten(1))


@pytest.fixture
def model():
    torch.manual_seed(0)
    net = Net()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return net.train()


@pytest.fixture
def graph(model):
    return prunella.trace(model, torch.zeros(1, 2, 4, 4))


@pytest.fixture
def samples():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(12, 2, 4, 4, generator=generator)
    return x, torch.randint(0, 3, (12,), generator=generator)


def split(samples, *sizes):
    return list(zip(*(part.split(sizes) for part in samples), strict=True))


def test_the_groups_are_as_the_oracles_think(graph):
    assert {g.name: g.size for g in graph.prunable} == {"a": 6, "c": 4}


# -- norms, distances and scales -----------------------------------------------------------------


@pytest.mark.parametrize(("method", "order"), [("filter-norm", 2), ("filter-norm-l1", 1)])
def test_norms_of_all_producing_weights(model, graph, method, order):
    scores = prunella.score(model, graph, method=method)
    for j in range(6):
        weights = [*model.a.weight[j].flatten().tolist(), *model.b.weight[j].flatten().tolist()]
        expected = sum(abs(w) ** order for w in weights) ** (1 / order)
        assert float(scores["a"][j]) == pytest.approx(expected, rel=1e-5)
    for j in range(4):
        expected = sum(abs(w) ** order for w in model.c.weight[j].flatten().tolist()) ** (1 / order)
        assert float(scores["c"][j]) == pytest.approx(expected, rel=1e-5)


def test_filter_norm_plans_alike_from_its_own_scores_and_from_sensitivities(model, graph, samples):
    budget = prunella.Params(0.6)
    own = prunella.plan(graph, prunella.score(model, graph, method="filter-norm"), budget,
                        "filter-norm")  # fmt: skip
    known = prunella.sensitivities(model, graph, [samples[0]])
    shared = prunella.plan(graph, known, budget, "filter-norm")
    assert all(torch.equal(own.kept[name], shared.kept[name]) for name in own.kept)
    assert (own.samples.count, shared.samples.count) == (0, 12)


def test_distances_to_all_filters_of_the_layer(model, graph):
    scores = prunella.score(model, graph, method="fpgm")
    filters = torch.cat([model.a.weight.flatten(1), model.b.weight.flatten(1)], dim=1).detach()
    for j in range(6):
        expected = sum(float((filters[j] - other).square().sum().sqrt()) for other in filters)
        assert float(scores["a"][j]) == pytest.approx(expected, rel=1e-5)


def test_fpgm_removes_one_of_two_equal_filters_before_an_odd_small_one():
    """What sets it apart from norms: a filter is judged by whether others can stand in for it."""
    model = nn.Sequential(nn.Linear(2, 4, bias=False), nn.ReLU(), nn.Linear(4, 2))
    model[0].weight.data = torch.tensor([[3.0, 0.0], [3.1, 0.0], [-0.5, 0.1], [2.9, 0.1]])
    graph = prunella.trace(model, torch.zeros(1, 2))
    kept = {}
    for method in ("fpgm", "filter-norm"):
        scores = prunella.score(model, graph, method=method)
        kept[method] = prunella.plan(graph, scores, prunella.Params(0.8), method).kept["0"].tolist()
    assert 2 in kept["fpgm"]
    assert 2 not in kept["filter-norm"]


def test_scales_of_all_batch_norms_on_the_way(model, graph):
    scores = prunella.score(model, graph, method="bn-scale")
    for j in range(6):
        expected = (abs(model.norm.weight[j].item()) + abs(model.again.weight[j].item())) / 2
        assert float(scores["a"][j]) == pytest.approx(expected, rel=1e-6)
    torch.testing.assert_close(scores["c"], model.last.weight.detach().abs())


def test_groups_without_batch_norm_are_named():
    model = nn.Sequential(
        nn.Conv2d(1, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 5, 1), nn.Conv2d(5, 6, 1),
        nn.Flatten(), nn.Linear(6 * 4, 2),
    )  # fmt: skip
    example = torch.zeros(1, 1, 2, 2)
    graph = prunella.trace(model, example)
    with pytest.raises(InputError, match=r"2 of 3 groups pass none: '2', '3'\. Leave them whole"):
        prunella.score(model, graph, method="bn-scale")
    rest = prunella.trace(model, example, include=[nn.BatchNorm2d])  # as the message says
    assert list(prunella.score(model, rest, method="bn-scale")) == ["0"]
    model[1] = nn.BatchNorm2d(4, affine=False)
    with pytest.raises(InputError, match="3 of 3 groups pass none"):
        prunella.score(model, prunella.trace(model, example), method="bn-scale")


def test_groups_without_filters_are_named(model, graph):
    whole = graph.group("a")
    readers = tuple(member for member in whole.members if member.role != "producer")
    without = dataclasses.replace(whole, members=readers)
    strange = dataclasses.replace(graph, groups=(without,))
    for method in ("filter-norm", "filter-norm-l1", "fpgm"):
        with pytest.raises(InputError, match=f"group 'a': no convolution .* method '{method}'"):
            prunella.score(model, strange, method=method)


# -- taylor --------------------------------------------------------------------------------------


def gate_oracle(model, samples):
    """Gates as multiplications in the forward, one backward for each sample, float64."""
    net, (x, labels) = model.double().eval(), samples
    totals = {"a": torch.zeros(6).double(), "c": torch.zeros(4).double()}
    for image, label in zip(x.double(), labels, strict=True):
        gates = {"a": torch.ones(6), "c": torch.ones(4)}
        gates = {name: g.double().requires_grad_() for name, g in gates.items()}
        a = gates["a"][None, :, None, None]
        h = torch.relu(net.norm(net.a(image[None])))
        # The stream is read twice: by b, and after the addition by c.
        h = torch.relu(h + net.again(net.b(h * a)))
        h = torch.relu(net.last(net.c(h * a))) * gates["c"][None, :, None, None]
        loss = F.cross_entropy(net.head(h.flatten(1)), label[None])
        for name, found in zip(gates, torch.autograd.grad(loss, list(gates.values())), strict=True):
            totals[name] += found.square()
    model.float()
    return {name: total / len(x) for name, total in totals.items()}


def test_taylor_is_the_squared_derivative_by_a_gate(model, graph, samples):
    scores = prunella.score(model, graph, split(samples, 5, 7), method="taylor")
    for name, expected in gate_oracle(model, samples).items():
        torch.testing.assert_close(scores[name].double(), expected, rtol=1e-4, atol=1e-9)


def test_taylor_by_hand():
    """One sample, two hidden units, loss ln(1 + exp(-z)) with z = 2 a_1 - a_2 for class 0."""
    model = nn.Sequential(nn.Linear(1, 2, bias=False), nn.ReLU(), nn.Linear(2, 2, bias=False))
    model[0].weight.data = torch.tensor([[1.0], [3.0]])
    model[2].weight.data = torch.tensor([[2.0, -1.0], [0.0, 0.0]])
    x = torch.tensor([[1.0]])
    graph = prunella.trace(model, x)
    scores = prunella.score(model, graph, [(x, torch.tensor([0]))], method="taylor")
    slope = -1 / (1 + torch.exp(torch.tensor(2.0 * 1 - 3)))  # dE/dz
    torch.testing.assert_close(scores["0"], torch.stack([(slope * 2) ** 2, (slope * -3) ** 2]))


def test_taylor_does_not_depend_on_the_batches(model, graph, samples):
    whole = prunella.score(model, graph, [samples], method="taylor")
    parts = prunella.score(model, graph, split(samples, 1, 4, 7), method="taylor")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert whole.samples == parts.samples
    assert whole.samples.count == 12


def test_taylor_leaves_the_model_as_it_was(model, graph, samples):
    model.c.weight.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    flags = [parameter.requires_grad for parameter in model.parameters()]
    state = torch.get_rng_state()
    prunella.score(model, graph, [samples], method="taylor")
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        again = prunella.score(model, graph, [samples], method="taylor")
    assert torch.equal(again["a"], prunella.score(model, graph, [samples], method="taylor")["a"])


@pytest.mark.parametrize(
    ("batch", "error", "message"),
    [
        (torch.zeros(2, 2, 4, 4), DataError, "'taylor' needs labels"),
        ((torch.zeros(2, 2, 4, 4), torch.tensor([0, 3])), DataError, "3 to 3, but the network has"),
        ((torch.full((1, 2, 4, 4), torch.nan), torch.tensor([0])), DataError, "NaN or infinite"),
        ((torch.zeros(0, 2, 4, 4), torch.zeros(0).long()), DataError, "loader is empty"),
    ],
)
def test_samples_that_taylor_cannot_use(model, graph, batch, error, message):
    with pytest.raises(error, match=message):
        prunella.score(model, graph, [batch], method="taylor")


def test_taylor_needs_logits():
    model = nn.Sequential(nn.Conv2d(1, 3, 1), nn.ReLU(), nn.Conv2d(3, 2, 1))
    x = torch.zeros(2, 1, 4, 4)
    graph = prunella.trace(model, x[:1])
    with pytest.raises(InputError, match=r"returns logits of shape \(1, 2, 4, 4\) for 1 samples"):
        prunella.score(model, graph, [(x, torch.tensor([0, 1]))], method="taylor")


def test_taylor_needs_gradients():
    class Frozen(nn.Sequential):
        @torch.no_grad()
        def forward(self, x):
            return super().forward(x)

    model = Frozen(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))
    x = torch.zeros(1, 2)
    with pytest.raises(InputError, match="needs gradients, but the loss of Frozen has none"):
        prunella.score(model, prunella.trace(model, x), [(x, torch.tensor([1]))], method="taylor")


# -- thinet --------------------------------------------------------------------------------------


def greedy_oracle(rows):
    """Algorithm 1 of the paper on a table of contributions (rows, channels), word for word."""
    removed, order = [], [0.0] * rows.shape[1]
    for place in range(rows.shape[1]):
        best = None
        for j in reversed(range(rows.shape[1])):
            if j in removed:
                continue
            value = float(rows[:, [*removed, j]].sum(1).square().sum())
            if best is None or value < best[0]:
                best = (value, j)
        removed.append(best[1])
        order[best[1]] = float(place)
    return order


@pytest.mark.parametrize("seed", range(5))
def test_greedy_order(seed):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(40, 9, generator=generator, dtype=torch.float64)
    rows[:, 3] = -rows[:, 5]  # two that cancel: cheap together, dear one by one
    assert greedy_order(rows.t() @ rows).tolist() == greedy_oracle(rows)


def test_of_equal_channels_the_later_go_first():
    rows = torch.ones(3, 4, dtype=torch.float64)
    assert greedy_order(rows.t() @ rows).tolist() == [3, 2, 1, 0]


def test_thinet_with_every_place_alike_is_the_oracle():
    """One position, one output: whatever is drawn, the contributions are w_j a_j."""
    model = nn.Sequential(nn.Linear(3, 7), nn.ReLU(), nn.Linear(7, 1))
    x = torch.randn(30, 3)
    graph = prunella.trace(model, x[:1])
    scores = prunella.score(model, graph, [x], method="thinet")
    with torch.no_grad():
        rows = (model[1](model[0](x)) * model[2].weight).double()
    assert scores["0"].tolist() == greedy_oracle(rows)


def test_thinet_draws_what_consumers_compute(model, graph, samples):
    """With many samples the order is that of all samples, positions and outputs."""
    x = torch.randn(600, 2, 4, 4)
    scores = prunella.score(model, graph, [(x, None)], method="thinet")
    with torch.no_grad():
        net = model.eval()
        h = torch.relu(net.norm(net.a(x)))
        h = torch.relu(h + net.again(net.b(h)))
        flat = torch.relu(net.last(net.c(h))).reshape(len(x), 4, 4)
        rows = torch.einsum("nct,oct->noc", flat, net.head.weight.reshape(3, 4, 4))
    assert scores["c"].tolist() == greedy_oracle(rows.reshape(-1, 4).double())


def test_thinet_depends_on_the_seed_and_not_on_the_batches(model, graph, samples):
    whole, parts, other = (
        prunella.score(model, graph, loader, method="thinet", seed=seed)
        for loader, seed in (([samples], 1), (split(samples, 1, 4, 7), 1), ([samples], 2))
    )
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert any(not torch.equal(whole[name], other[name]) for name in whole)
    assert whole.samples.count == 12


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(8, 4, 3, groups=2),
        nn.Conv2d(8, 4, 2, stride=2, dilation=2, padding=1),
        nn.ConvTranspose2d(8, 6, 3, stride=2, padding=1),
    ],
    ids=["grouped", "strided", "transposed"],
)
def test_thinet_contributions_add_up_to_the_output(layer):
    """The drawn rows of any kind of layer, summed over channels, are outputs it really gave."""
    from prunella.core.modes import evaluating
    from prunella.methods import thinet

    model = nn.Sequential(nn.Conv2d(1, 8, 1), nn.Tanh(), layer)
    x = torch.randn(3, 1, 6, 6)
    rows = []
    real = thinet._drawn_contributions

    class Spy(thinet.CallWatcher):
        def __init__(self):
            super().__init__()
            self.stored = thinet.StoredTensors(model)

        def answer(self, func, args, kwargs):
            call = thinet.contraction_of(func, args, self.stored)
            if call is not None and call.name.startswith("2."):
                rows.extend(real(call, 3, torch.Generator().manual_seed(0)))
            return func(*args, **kwargs)

    with evaluating(model), Spy():
        out = model(x)
    without_bias = (out - layer.bias[None, :, None, None]).detach().flatten()
    for _, found in rows:
        assert found.shape[0] == 30
        for value in found.sum(1):
            assert float((without_bias - value).abs().min()) < 1e-5
    assert sum(found.shape[1] for _, found in rows) == 8


# -- one threshold for all -----------------------------------------------------------------------


@pytest.mark.parametrize("method", ["taylor", "bn-scale"])
def test_one_threshold_for_all_layers(model, graph, samples, method):
    scores = prunella.score(model, graph, [samples], method=method)
    plan = prunella.plan(graph, scores, prunella.Params(0.6), method)
    stays = [float(scores[n][u]) for n, kept in plan.kept.items() for u in kept.tolist()]
    gone = [float(scores[n][u]) for n, kept in plan.kept.items() for u in range(len(scores[n]))
            if u not in kept.tolist()]  # fmt: skip
    assert gone
    floor = [n for n, kept in plan.kept.items() if len(kept) == 1]
    assert floor or min(stays) >= max(gone)


def test_one_threshold_is_the_best_of_all_thresholds():
    from prunella.allocate import one_threshold

    model = nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 7), nn.ReLU(), nn.Linear(7, 3))
    graph = prunella.trace(model, torch.zeros(1, 4))
    generator = torch.Generator().manual_seed(2)
    values = {g.name: torch.rand(g.size, generator=generator) ** 8 for g in graph.prunable}
    model_cost = CostModel(graph)
    for share in (0.3, 0.5, 0.8):
        target = share * model_cost.full.params
        best = None
        for threshold in sorted(torch.cat(list(values.values())).tolist()):
            kept = {n: max(1, int((v > threshold).sum())) for n, v in values.items()}
            if best is None and model_cost.cost(kept).params <= target:
                best = (threshold, kept)
        found = one_threshold(graph, values, prunella.Params(share))
        # The budget's rest may let single groups up by one step.
        assert all(best[1][n] <= found.kept[n] <= best[1][n] + 1 for n in best[1])
        assert found.knob >= best[0]
        assert found.achieved.params <= target


def test_one_threshold_may_empty_a_layer_but_for_one():
    from prunella.allocate import one_threshold

    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    graph = prunella.trace(model, torch.zeros(1, 4))
    values = {"0": torch.full((8,), 1e-9), "2": torch.arange(1, 9).float()}
    found = one_threshold(graph, values, prunella.Params(0.3))
    assert found.kept["0"] == 1
    assert found.kept["2"] > 1
    uneven = one_threshold(graph, values, prunella.Params(0.6), multiple=4)
    assert uneven.kept["0"] == 4
    with pytest.raises(prunella.BudgetError, match="smallest reachable"):
        one_threshold(graph, values, prunella.Params(0.01))


def test_every_method_meets_every_budget(model, graph, samples):
    for name, share in itertools.product(prunella.METHODS, (0.4, 0.7)):
        method = prunella.METHODS[name]
        scores = prunella.score(model, graph, [samples], name) if method.uses_scores else None
        plan = prunella.plan(graph, scores, prunella.Params(share), name, seed=1)
        assert plan.achieved.params <= share * plan.original.params
        assert plan.method == name
