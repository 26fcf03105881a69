"""The repair by itself: `prunella.repaired`."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import prunella
from prunella.core.errors import DataError
from prunella.pipeline import repairing


def cut():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 12, 3, bias=False), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 8, 3),
        nn.ReLU(), nn.Flatten(), nn.Linear(8 * 16, 5),
    ).eval()  # fmt: skip
    x = torch.randn(250, 1, 8, 8)
    prunella.reestimate_batchnorm(model, [x])
    graph = prunella.trace(model, x[:1])
    plan = prunella.plan(graph, None, prunella.Flops(0.6), "random")
    return model, plan, list(x.split(50))


def error(small, model):
    x = torch.randn(200, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return float((small(x) - model(x)).norm())


def test_it_is_nearer_to_the_original_and_leaves_the_cut_network_alone():
    model, plan, batches = cut()
    small = plan.apply(model).eval()
    before = {name: tensor.clone() for name, tensor in small.state_dict().items()}
    found = prunella.repaired(model, small, plan, batches).eval()
    assert error(found, model) < 0.7 * error(small, model)
    assert all(torch.equal(before[name], value) for name, value in small.state_dict().items())
    again = prunella.repaired(model, small, plan, batches)
    for name, value in again.state_dict().items():
        assert torch.equal(value, found.state_dict()[name])


def test_a_repair_that_held_out_outputs_contradict_is_dropped(monkeypatch):
    model, plan, batches = cut()

    def harm(_, solved, *args, **kwargs):
        with torch.no_grad():
            solved[3].weight.mul_(50)

    monkeypatch.setattr(repairing, "reconstruct", harm)
    small = plan.apply(model).eval()
    found = prunella.repaired(model, small, plan, batches)
    assert torch.equal(found[3].weight, small[3].weight)


def test_statistics_that_harm_are_dropped(monkeypatch):
    """These samples are unlike those that the original's statistics are of."""
    model, plan, batches = cut()
    monkeypatch.setattr(repairing, "reconstruct", lambda *_, **__: None)
    small = plan.apply(model).eval()
    found = prunella.repaired(model, small, plan, [5 + 3 * batch for batch in batches])
    assert torch.equal(found[1].running_mean, small[1].running_mean)


def test_little_memory_means_few_samples(monkeypatch):
    model, plan, batches = cut()
    seen = []

    def count(_, __, ___, ____, inputs, **kwargs):
        seen.append((len(inputs.tensors[0]), kwargs["judging"]))

    monkeypatch.setattr(repairing, "reconstruct", count)
    prunella.repaired(model, plan.apply(model), plan, batches)
    # The widest call reads and gives 12 maps of 6 x 6 numbers: at most 10 samples in this memory.
    monkeypatch.setattr(repairing, "_MEMORY", 3 * 4 * 2 * 12 * 36 * 10)
    prunella.repaired(model, plan.apply(model), plan, batches)
    assert seen == [(250, 50), (10, 2)]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "magic"}, r"repair 'magic': expected one of mean, lstsq"),
        ({"samples": []}, r"no samples"),
    ],
)
def test_mistakes_are_told(options, words):
    model, plan, batches = cut()
    samples = options.pop("samples", batches)
    with pytest.raises(prunella.PrunellaError, match=words):
        prunella.repaired(model, plan.apply(model), plan, samples, **options)


def test_outputs_that_are_not_finite_cannot_judge():
    model, plan, batches = cut()
    batches[-1][-1, 0, 0, 0] = float("nan")
    with pytest.raises(DataError, match="the original's outputs are not finite on the samples"):
        prunella.repaired(model, plan.apply(model), plan, batches)


def test_models_that_are_not_the_plans_are_refused():
    model, plan, batches = cut()
    small = plan.apply(model)
    with pytest.raises(prunella.InputError, match="has shape"):
        prunella.repaired(small, small, plan, batches)
    with pytest.raises(prunella.InputError, match=r"expected small to be plan\.apply\(model\)"):
        prunella.repaired(model, model, plan, batches)
