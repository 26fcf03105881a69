"""An optimiser that goes on after a cut: exactly as the masked original's kept positions do."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import lr_scheduler

import prunella
from prunella.core.errors import InputError

IMAGES = torch.randn(16, 3, 6, 6, generator=torch.Generator().manual_seed(1)).double()
LABELS = torch.randint(0, 4, (16,), generator=torch.Generator().manual_seed(2))


class Net(nn.Module):
    """Batch norm, a shortcut, a depthwise convolution, and a flattened map."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.left = nn.Conv2d(8, 6, 3, stride=2)
        self.right = nn.Conv2d(8, 6, 3, stride=2, bias=False)
        self.depth = nn.Conv2d(6, 6, 1, groups=6)
        self.head = nn.Linear(6 * 4, 7)
        self.last = nn.Linear(7, 4)

    def forward(self, x):
        x = F.silu(self.norm(self.stem(x)))
        x = self.depth(torch.tanh(self.left(x) + self.right(x)))
        return self.last(torch.sigmoid(self.head(x.flatten(1))))


KEPT = {"stem": [1, 2, 4, 7], "left": [0, 3, 5], "head": [2, 3, 6]}


def step(model, optimizer, count=1):
    """Some steps on batches that differ."""
    for number in range(count):
        part = slice(number % 2, None, 2)
        optimizer.zero_grad()
        F.cross_entropy(model(IMAGES[part]), LABELS[part]).backward()
        optimizer.step()


def cut(model, kept=KEPT, example=IMAGES[:1]):
    graph = prunella.trace(model, example)
    plan = prunella.Plan.from_kept(graph, kept)
    return plan, plan.apply(model)


def positions(plan, name, shape, *, roles=("producer", "carrier", "consumer")):
    """For each axis of a tensor the positions that stay; slow and by itself on purpose."""
    stays = [list(range(length)) for length in shape]
    for group in plan.graph.prunable:
        units = set(range(group.size)) - set(plan.kept[group.name].tolist())
        for member in group.members:
            if member.tensor == name and member.role in roles:
                gone = {p for unit in units for p in member.indices[unit].tolist()}
                stays[member.axis] = [p for p in stays[member.axis] if p not in gone]
    return stays


def on_kept(plan, name, tensor):
    """The kept positions of a tensor of the original's."""
    for axis, stays in enumerate(positions(plan, name, tensor.shape)):
        tensor = tensor[(slice(None),) * axis + (stays,)]
    return tensor


def hold_masked(plan, model):
    """Zeros where consumers read removed channels."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            held = torch.zeros_like(parameter)
            stays = positions(plan, name, parameter.shape, roles=("consumer",))
            held[torch.meshgrid(*map(torch.tensor, stays), indexing="ij")] = 1
            parameter.mul_(held)


def largest_difference(plan, model, optimizer, small, small_optimizer):
    """Over weights, batch-norm statistics and all state, relative to each tensor's scale."""
    pairs = [(name, t, small.state_dict()[name]) for name, t in model.state_dict().items()]
    found = dict(small.named_parameters())
    for name, parameter in model.named_parameters():
        entry, other = optimizer.state[parameter], small_optimizer.state[found[name]]
        assert list(entry) == list(other)
        pairs += [(name, entry[key], other[key]) for key in entry if entry[key] is not None]
    worst = 0.0
    for name, before, after in pairs:
        expected = torch.as_tensor(before, dtype=torch.float64)
        after = torch.as_tensor(after, dtype=torch.float64)
        expected = on_kept(plan, name, expected) if expected.ndim else expected
        assert expected.shape == after.shape, name
        scale = max(float(expected.abs().max()), 1e-12)
        worst = max(worst, float((expected - after).abs().max()) / scale)
    return worst


OPTIMIZERS = {
    "SGD with momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-2),
    "SGD, Nesterov": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "SGD, dampened": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.3),
    "Adam": lambda p: torch.optim.Adam(p, lr=0.02, weight_decay=1e-2),
    "Adam, foreach": lambda p: torch.optim.Adam(p, lr=0.02, foreach=True),
    "Adam, fused": lambda p: torch.optim.Adam(p, lr=0.02, fused=True),
    "Adam with amsgrad": lambda p: torch.optim.Adam(p, lr=0.02, amsgrad=True),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.02, weight_decay=0.1),
    "AdamW with amsgrad": lambda p: torch.optim.AdamW(p, lr=0.02, amsgrad=True),
    "NAdam": lambda p: torch.optim.NAdam(p, lr=0.02),
    "RAdam": lambda p: torch.optim.RAdam(p, lr=0.02),
    "Adamax": lambda p: torch.optim.Adamax(p, lr=0.02),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.5, centered=True),
    "Adagrad": lambda p: torch.optim.Adagrad(p, lr=0.05),
    "Adadelta": lambda p: torch.optim.Adadelta(p, lr=1.0),
    "Rprop": lambda p: torch.optim.Rprop(p, lr=0.01),
    "ASGD": lambda p: torch.optim.ASGD(p, lr=0.1, t0=3),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_small_network_trains_as_the_kept_positions_of_the_masked_original(name):
    """The consumers' weights at removed channels are set to zero again after every step.

    They do get gradients. Those of all kept positions equal the small network's, and an optimiser
    that works on each element by itself then makes the same steps.
    """
    torch.manual_seed(3)
    model = Net().double()
    optimizer = OPTIMIZERS[name](model.parameters())
    step(model, optimizer, 5)
    plan, small = cut(model)
    continued = prunella.slice_optimizer(optimizer, plan, model, small)
    assert type(continued) is type(optimizer)
    reset_model = copy.deepcopy(small)
    reset = OPTIMIZERS[name](reset_model.parameters())
    hold_masked(plan, model)
    assert largest_difference(plan, model, optimizer, small, continued) == 0

    for _ in range(7):
        step(model, optimizer)
        hold_masked(plan, model)
        step(small, continued)
        step(reset_model, reset)
    assert largest_difference(plan, model, optimizer, small, continued) < 1e-10
    # The comparison is one that a new optimiser does not pass.
    assert largest_difference(plan, model, optimizer, reset_model, reset) > 1e-3


def test_slices_are_those_of_the_parameter():
    model = Net().double()
    optimizer = torch.optim.AdamW(model.parameters(), amsgrad=True)
    step(model, optimizer, 2)
    for number, parameter in enumerate(model.parameters()):
        for key in ("exp_avg", "exp_avg_sq", "max_exp_avg_sq"):
            values = torch.arange(parameter.numel()).reshape(parameter.shape) + 1000.0 * number
            optimizer.state[parameter][key] = values.double()
    plan, small = cut(model)
    continued = prunella.slice_optimizer(optimizer, plan, model, small)
    assert small.left.weight.shape == (3, 4, 3, 3)
    assert small.head.weight.shape == (3, 12)
    for (name, before), after in zip(model.named_parameters(), small.parameters(), strict=True):
        for key in ("exp_avg", "exp_avg_sq", "max_exp_avg_sq"):
            expected = on_kept(plan, name, optimizer.state[before][key])
            assert torch.equal(continued.state[after][key], expected), (name, key)


# -- groups, options, schedules ------------------------------------------------------------------


def test_groups_and_their_options_stay():
    model = Net().double()
    norm = [parameter for name, parameter in model.named_parameters() if "norm" in name]
    rest = [parameter for name, parameter in model.named_parameters() if "norm" not in name]
    optimizer = torch.optim.AdamW(
        [{"params": norm, "weight_decay": 0.0}, {"params": rest, "lr": 0.07, "betas": (0.8, 0.9)}],
        lr=torch.tensor(0.01),
        eps=1e-6,
        maximize=True,
    )
    step(model, optimizer)
    plan, small = cut(model)
    continued = prunella.slice_optimizer(optimizer, plan, model, small)
    found = {id(parameter): name for name, parameter in small.named_parameters()}
    names = [[found[id(p)] for p in group["params"]] for group in continued.param_groups]
    assert names[0] == ["norm.weight", "norm.bias"]
    assert len(names[1]) == len(rest)
    assert continued.defaults == optimizer.defaults
    for before, after in zip(optimizer.param_groups, continued.param_groups, strict=True):
        assert {k: v for k, v in before.items() if k != "params"} == {
            k: v for k, v in after.items() if k != "params"
        }
    # Nothing is shared that a later change of one would carry to the other.
    continued.param_groups[0]["lr"].fill_(9)
    assert float(optimizer.param_groups[0]["lr"]) == pytest.approx(0.01)


def test_named_parameters_keep_their_names():
    model = Net().double()
    optimizer = torch.optim.SGD(model.named_parameters(), lr=0.1, momentum=0.9)
    step(model, optimizer)
    plan, small = cut(model)
    continued = prunella.slice_optimizer(optimizer, plan, model, small)
    assert continued.param_groups[0]["param_names"] == [n for n, _ in small.named_parameters()]


@pytest.mark.parametrize(
    "schedule",
    [
        lambda o: lr_scheduler.StepLR(o, step_size=2, gamma=0.5),
        lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=12),
        lambda o: lr_scheduler.LambdaLR(o, lambda epoch: 1 / (1 + epoch)),
    ],
)
def test_schedule_goes_on_when_it_is_given_the_new_optimizer(schedule):
    rates = {}
    for pruned in (False, True):
        model = Net().double()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        scheduler = schedule(optimizer)
        rates[pruned] = []
        for number in range(8):
            if pruned and number == 3:
                plan, small = cut(model)
                continued = prunella.slice_optimizer(optimizer, plan, model, small)
                scheduler.optimizer = continued
                assert continued.param_groups[0]["initial_lr"] == 0.01
                model, optimizer = small, continued
            step(model, optimizer)
            scheduler.step()
            rates[pruned].append(optimizer.param_groups[0]["lr"])
    assert rates[True] == rates[False]
    assert len(set(rates[True])) > 3


def test_step_of_a_scheduled_optimizer_is_that_of_the_new_one():
    """A schedule hides `step` behind one that is bound to the old optimiser."""
    model = Net().double()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    lr_scheduler.StepLR(optimizer, step_size=1)
    step(model, optimizer)
    plan, small = cut(model)
    continued = prunella.slice_optimizer(optimizer, plan, model, small)
    old = [parameter.clone() for parameter in model.parameters()]
    new = [parameter.clone() for parameter in small.parameters()]
    step(small, continued)
    assert all(torch.equal(a, b) for a, b in zip(old, model.parameters(), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(new, small.parameters(), strict=True))


# -- parameters ----------------------------------------------------------------------------------


def test_tied_parameters_have_one_state():
    model = nn.Sequential(
        nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 4), nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)
    )
    model[3].weight, model[3].bias = model[0].weight, model[0].bias
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(5, 4)).pow(2).sum().backward()
    optimizer.step()
    plan, small = cut(model, {"0": [1, 4]}, torch.randn(1, 4))
    continued = prunella.slice_optimizer(optimizer, plan, model, small)
    assert len(continued.param_groups[0]["params"]) == len(continued.state) == 6
    assert small[3].weight is small[0].weight
    expected = optimizer.state[model[0].weight]["exp_avg"][[1, 4]]
    assert torch.equal(continued.state[small[3].weight]["exp_avg"], expected)


def test_frozen_parameters_and_those_of_other_optimizers_have_no_state():
    model = Net().double()
    model.stem.weight.requires_grad_(False)
    mine = [p for name, p in model.named_parameters() if not name.startswith("last")]
    optimizer = torch.optim.Adam(mine)
    step(model, optimizer)
    entries = len(optimizer.state)
    plan, small = cut(model)
    continued = prunella.slice_optimizer(optimizer, plan, model, small)
    assert len(optimizer.state) == len(continued.state) == entries == len(mine) - 1
    members = {id(parameter) for parameter in continued.param_groups[0]["params"]}
    assert id(small.stem.weight) in members
    assert id(small.last.weight) not in members


def test_number_type_and_layout_of_the_state_stay():
    model = Net().to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters())
    F.cross_entropy(model(IMAGES.float()), LABELS).backward()
    optimizer.step()
    entry = optimizer.state[model.left.weight]
    entry["exp_avg"] = entry["exp_avg"].double()
    plan, small = cut(model, KEPT, IMAGES[:1].float())
    after = prunella.slice_optimizer(optimizer, plan, model, small).state[small.left.weight]
    assert after["exp_avg"].dtype is torch.float64
    assert after["exp_avg_sq"].is_contiguous(memory_format=torch.channels_last)
    assert not after["exp_avg_sq"].is_contiguous()


def test_model_and_optimizer_are_untouched():
    model = Net().double()
    optimizer = torch.optim.Adam(model.parameters())
    step(model, optimizer, 2)
    before = copy.deepcopy(optimizer.state_dict())
    weights = copy.deepcopy(model.state_dict())
    members = [id(p) for p in optimizer.param_groups[0]["params"]]
    plan, small = cut(model)
    continued = prunella.slice_optimizer(optimizer, plan, model, small)
    step(small, continued, 3)
    assert [id(p) for p in optimizer.param_groups[0]["params"]] == members
    for number, entry in before["state"].items():
        for key, value in entry.items():
            assert torch.equal(optimizer.state_dict()["state"][number][key], value)
    assert all(torch.equal(weights[name], t) for name, t in model.state_dict().items())


# -- other optimisers ----------------------------------------------------------------------------


class Averaging(torch.optim.SGD):
    """A subclass with an argument of its own, nested state, and attributes torch does not copy."""

    def __init__(self, parameters, decay, **others):
        super().__init__(parameters, lr=0.1, **others)
        self.decay = decay
        self.history = [1, 2]

    def step(self, closure=None):
        super().step(closure)
        for group in self.param_groups:
            for p in group["params"]:
                entry = self.state[p].setdefault("average", {"count": 0, "values": [p.detach()]})
                entry["count"] += 1
                entry["values"] = [torch.lerp(p.detach(), entry["values"][0], self.decay)]


def test_state_is_found_by_shape_in_a_subclass_of_ones_own():
    model = Net().double()
    optimizer = Averaging(model.parameters(), 0.9, momentum=0.9)
    step(model, optimizer, 4)
    plan, small = cut(model)
    continued = prunella.slice_optimizer(optimizer, plan, model, small)
    assert (continued.decay, continued.history) == (0.9, [1, 2])
    assert continued.history is not optimizer.history
    before = optimizer.state[model.head.weight]["average"]
    after = continued.state[small.head.weight]["average"]
    assert after["count"] == before["count"] == 4
    expected = on_kept(plan, "head.weight", before["values"][0])
    assert torch.equal(after["values"][0], expected)
    step(small, continued)
    assert after["count"] == 5
    assert before["count"] == 4


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (
            torch.optim.Adafactor,
            r"optimiser state \['row_var'\] of 'stem.weight': shape \(8, 3, 3, 1\); expected the "
            r"parameter's shape \(8, 3, 3, 3\) or a single number.*begin with a new one",
        ),
        (
            torch.optim.LBFGS,
            r"optimiser state \['d'\] of 'stem.weight': shape \(\d+,\)",
        ),
    ],
)
def test_state_that_cannot_be_sliced_is_named(optimizer, message):
    model = Net().double()
    optimizer = optimizer(model.parameters())

    def closure():
        optimizer.zero_grad()
        loss = F.cross_entropy(model(IMAGES), LABELS)
        loss.backward()
        return loss

    optimizer.step(closure)
    plan, small = cut(model)
    with pytest.raises(InputError, match=message):
        prunella.slice_optimizer(optimizer, plan, model, small)


def test_objects_and_tensors_elsewhere_are_named():
    model = Net().double()
    plan, small = cut(model)
    parameters = model.parameters
    cases = {
        "['key'] of 'stem.weight': a set": lambda o: o.state[model.stem.weight].update(key={1}),
        "keeps state under 'global'": lambda o: o.state["global"].update(step=3),
        "the Averaging: holds a tensor of shape (8,)": (
            lambda o: o.param_groups[0].update(mask=torch.ones(8))
        ),
        "attribute 'slow' of the Averaging: holds a tensor of shape (5, 2)": (
            lambda o: setattr(o, "slow", {"weights": [torch.ones(5, 2)]})
        ),
        "attribute 'stream' of the Averaging cannot be copied": (
            lambda o: setattr(o, "stream", (_ for _ in ()))
        ),
    }
    for message, change in cases.items():
        optimizer = Averaging(parameters(), 0.9)
        change(optimizer)
        with pytest.raises(InputError) as caught:
            prunella.slice_optimizer(optimizer, plan, model, small)
        assert message in str(caught.value)


# -- refusals ------------------------------------------------------------------------------------


def test_optimizer_of_another_model():
    model = Net().double()
    plan, small = cut(model)
    twin = torch.optim.Adam(copy.deepcopy(model).parameters())
    with pytest.raises(InputError, match=r"parameter 0 of group 0 of the Adam.*none of the given"):
        prunella.slice_optimizer(twin, plan, model, small)
    more = torch.optim.Adam(model.parameters())
    more.add_param_group({"params": [nn.Parameter(torch.ones(2, 5))]})
    with pytest.raises(InputError, match=r"parameter 0 of group 1 .* of shape \(2, 5\)"):
        prunella.slice_optimizer(more, plan, model, small)


def test_models_that_do_not_fit_the_plan():
    model = Net().double()
    optimizer = torch.optim.Adam(model.parameters())
    plan, small = cut(model)
    other, tiny = cut(model, {**KEPT, "head": [0]})
    with pytest.raises(InputError, match=r"'stem.weight' has shape \(8, 3, 3, 3\), but in"):
        prunella.slice_optimizer(torch.optim.Adam(small.parameters()), plan, small, small)
    with pytest.raises(InputError, match=r"'head.weight' with shape \(3, 12\).*shape \(1, 12\)"):
        prunella.slice_optimizer(optimizer, plan, model, tiny)
    with pytest.raises(InputError, match=r"'stem.weight' with shape \(4, 3, 3, 3\).*made with"):
        prunella.slice_optimizer(optimizer, plan, model, model)
    del tiny.last
    with pytest.raises(InputError, match=r"'last.weight'.*does not have it"):
        prunella.slice_optimizer(optimizer, other, model, tiny)
    small.extra = nn.Linear(2, 2)
    with pytest.raises(InputError, match=r"has a parameter 'extra.weight' that the Net does not"):
        prunella.slice_optimizer(optimizer, plan, model, small)
