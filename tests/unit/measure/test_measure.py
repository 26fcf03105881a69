"""Cost to the unit, accuracy, and run times in order."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import prunella
from prunella.core.errors import DataError, InputError
from prunella.core.results import RunTimes

COSTS = {
    # name: (layer, input shape, parameters, multiply-adds)
    "convolution": (nn.Conv2d(3, 8, 3, padding=1), (1, 3, 5, 6), 3 * 8 * 9 + 8, 3 * 8 * 9 * 30),
    "stride": (nn.Conv2d(3, 8, 3, stride=2), (1, 3, 9, 9), 3 * 8 * 9 + 8, 3 * 8 * 9 * 16),
    "dilation": (nn.Conv2d(1, 2, 3, dilation=3, bias=False), (1, 1, 9, 9), 18, 18 * 9),
    "groups": (nn.Conv2d(4, 8, 3, groups=2), (1, 4, 5, 5), 2 * 8 * 9 + 8, 2 * 8 * 9 * 9),
    "depthwise": (nn.Conv2d(4, 4, 3, groups=4), (1, 4, 5, 5), 4 * 9 + 4, 4 * 9 * 9),
    "one axis": (nn.Conv1d(2, 3, 4), (1, 2, 10), 2 * 3 * 4 + 3, 2 * 3 * 4 * 7),
    "three axes": (nn.Conv3d(2, 3, 2), (1, 2, 3, 3, 3), 2 * 3 * 8 + 3, 2 * 3 * 8 * 8),
    "transposed": (nn.ConvTranspose2d(2, 3, 2, stride=2), (1, 2, 4, 4), 27, 2 * 3 * 4 * 16),
    "linear": (nn.Linear(7, 5), (1, 7), 40, 35),
    "linear over tokens": (nn.Linear(7, 5), (1, 6, 7), 40, 35 * 6),
    "batch norm": (nn.BatchNorm2d(4), (1, 4, 5, 5), 8, 0),
    "a batch": (nn.Linear(7, 5), (3, 7), 40, 35 * 3),
}


@pytest.mark.parametrize("name", COSTS)
def test_cost_of_one_layer(name):
    layer, shape, params, macs = COSTS[name]
    found = prunella.cost(layer, torch.zeros(shape))
    assert (found.params, found.macs) == (params, macs)
    buffers = sum(b.numel() * b.element_size() for b in layer.buffers())
    assert found.bytes == 4 * params + buffers


class Product(nn.Module):
    def forward(self, a, b):
        return torch.bmm(a, b)


def test_products_of_activations_count():
    found = prunella.cost(Product(), (torch.zeros(2, 3, 4), torch.zeros(2, 4, 5)))
    assert (found.params, found.macs, found.bytes) == (0, 2 * 3 * 4 * 5, 0)


def test_tied_parameters_count_once_and_their_work_twice():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    found = prunella.cost(model, torch.zeros(1, 4))
    assert (found.params, found.macs, found.bytes) == (16 + 8, 32, 4 * 24)


def test_buffers_that_are_not_saved_do_not_count():
    model = nn.Linear(2, 2)
    model.register_buffer("kept", torch.zeros(3, dtype=torch.float64))
    model.register_buffer("dropped", torch.zeros(100), persistent=False)
    assert prunella.cost(model, torch.zeros(1, 2)).bytes == 4 * 6 + 8 * 3


def test_types_show_in_the_bytes():
    assert prunella.cost(nn.Linear(2, 2).half(), torch.zeros(1, 2).half()).bytes == 12


def test_model_on_the_meta_device():
    with torch.device("meta"):
        model = prunella.networks.resnet20()
    assert prunella.cost(model, torch.zeros(1, 3, 32, 32)) == prunella.cost(
        prunella.networks.resnet20(), torch.zeros(1, 3, 32, 32)
    )


def test_cost_is_that_of_evaluation_mode():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))  # cannot train on one sample
    assert prunella.cost(model, torch.zeros(1, 3)).macs == 9


def test_cost_leaves_the_model_alone():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout())
    before = {name: t.clone() for name, t in model.state_dict().items()}
    generator = torch.get_rng_state()
    prunella.cost(model, torch.zeros(2, 3))
    assert all(m.training for m in model.modules())
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)


def test_inputs_that_do_not_fit():
    with pytest.raises(InputError, match="Linear cannot be run on the example inputs"):
        prunella.cost(nn.Linear(3, 2), torch.zeros(1, 4))


# -- accuracy ------------------------------------------------------------------------------------


class Echo(nn.Module):
    """The inputs are the logits."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        assert not self.training
        assert not torch.is_grad_enabled()
        return x


def test_accuracy_is_the_share_of_right_answers():
    logits = torch.eye(4)
    model = Echo()
    batches = [
        (logits[:3], torch.tensor([0, 1, 0])),
        (logits[:0], torch.tensor([], dtype=torch.long)),
        [logits, torch.tensor([0, 1, 2, 2], dtype=torch.uint8)],
    ]
    assert prunella.accuracy(model, batches) == (5 / 7, 7)
    assert model.training


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([], "the loader is empty"),
        ([torch.eye(3)], r"accuracy needs labels: the loader must yield \(inputs, labels\)"),
        ([(torch.eye(3), torch.tensor([0, 1, 3]))], "labels run from 0 to 3, but the network has"),
        ([(torch.eye(3), torch.tensor([0, -1, 2]))], "labels run from -1 to 2"),
        ([(torch.eye(3), torch.rand(3))], "labels are torch.float32"),
        ([(torch.eye(3), torch.tensor([True, False, True]))], "labels are torch.bool"),
        ([(torch.eye(3), torch.tensor([0, 1]))], r"3 inputs with labels of shape \(2,\)"),
        ([{"x": torch.eye(3)}], "accuracy needs labels"),
        (["text"], "the loader yields str; expected a tensor of inputs"),
    ],
)
def test_accuracy_errors(batches, message):
    model = Echo()
    with pytest.raises(DataError, match=message):
        prunella.accuracy(model, batches)
    assert model.training


# -- latency -------------------------------------------------------------------------------------


class Noted(nn.Module):
    """Writes down each run."""

    def __init__(self, name, log):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.name, self.log = name, log

    def forward(self, x):
        self.log.append((self.name, len(x), self.training, x.is_contiguous()))
        return self.layer(x)


def test_latency_runs_both_in_turn():
    log = []
    before, after = Noted("before", log), Noted("after", log)
    after.eval()
    found = prunella.compare_latency(
        before, after, torch.zeros(1, 3), batches=(1, 4), runs=6, warmup=2
    )
    assert [(entry.batch, entry.runs) for entry in found] == [(1, 6), (4, 6)]
    for entry in found:
        assert isinstance(entry, RunTimes)
        for quartiles in (entry.before, entry.after):
            assert 0 < quartiles[0] <= quartiles[1] <= quartiles[2] < math.inf
        assert 0 < entry.speedup < math.inf
    assert before.training
    assert not after.training
    assert len(log) == 2 * (2 + 6) * 2
    assert not any(training for _, _, training, _ in log)
    assert all(contiguous for *_, contiguous in log)
    assert [size for _, size, _, _ in log] == [1] * 16 + [4] * 16
    names = [name for name, *_ in log[4:16]]
    pairs = list(zip(names[::2], names[1::2], strict=True))
    assert all(set(pair) == {"before", "after"} for pair in pairs)
    assert {pair[0] for pair in pairs} == {"before", "after"}  # neither always goes first


def test_latency_tells_the_two_apart(monkeypatch):
    """With a clock that follows the runs, the numbers go to the right network."""
    from prunella.measure import latency

    now = [0.0]
    monkeypatch.setattr(latency.time, "perf_counter", lambda: now[0])

    class Takes(nn.Module):
        def __init__(self, seconds):
            super().__init__()
            self.seconds = seconds

        def forward(self, x):
            now[0] += self.seconds
            return x

    (found,) = prunella.compare_latency(Takes(3.0), Takes(1.5), torch.zeros(1, 2), batches=(1,))
    assert found.before == pytest.approx((3.0, 3.0, 3.0))
    assert found.after == pytest.approx((1.5, 1.5, 1.5))
    assert found.speedup == pytest.approx(2.0)
