"""Optimisers on disk: by parameter's name, without pickle, and exact."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors import safe_open
from torch import nn

import prunella
from prunella.core.errors import FileError, InputError
from prunella.files import weights as weight_files

INPUTS = torch.randn(6, 2, 5, 5, generator=torch.Generator().manual_seed(1))


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(54, 3)
    )


def groups(model):
    return [
        {"params": list(model[4].parameters()), "lr": 0.03},
        {"params": [*model[0].parameters(), *model[1].parameters()], "weight_decay": 0.0},
    ]


def step(model, optimizer, count=1):
    for number in range(count):
        optimizer.zero_grad()
        model(INPUTS * (1 + number)).pow(2).mean().backward()
        optimizer.step()


OPTIMIZERS = {
    "SGD": lambda m: torch.optim.SGD(groups(m), lr=0.1, momentum=0.9),
    "SGD, plain": lambda m: torch.optim.SGD(groups(m), lr=0.1),
    "Adam": lambda m: torch.optim.Adam(groups(m), lr=0.01, betas=(0.8, 0.95)),
    "AdamW": lambda m: torch.optim.AdamW(groups(m), lr=0.01, amsgrad=True, fused=True),
    "NAdam": lambda m: torch.optim.NAdam(groups(m), lr=0.01),
    "Adafactor": lambda m: torch.optim.Adafactor(groups(m), lr=0.01),
    "tensor rate": lambda m: torch.optim.Adam(m.parameters(), lr=torch.tensor(0.01)),
    "named": lambda m: torch.optim.Adam(m.named_parameters(), lr=0.01),
}


def same(one, other):
    """The states of two optimisers and their options are equal to the bit."""
    first, second = one.state_dict(), other.state_dict()
    assert first["state"].keys() == second["state"].keys()
    for number, entry in first["state"].items():
        assert entry.keys() == second["state"][number].keys()
        for key, value in entry.items():
            found = second["state"][number][key]
            assert type(found) is type(value)
            if isinstance(value, torch.Tensor):
                assert (found.dtype, found.device) == (value.dtype, value.device)
                assert torch.equal(found, value)
            else:
                assert found == value
    assert first["param_groups"] == second["param_groups"]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_goes_on_from_a_file_as_if_nothing_had_happened(name, tmp_path):
    path = tmp_path / "optimizer.safetensors"
    model = net()
    optimizer = OPTIMIZERS[name](model)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    step(model, optimizer, 3)
    scheduler.step()
    prunella.save_optimizer(path, optimizer, model)
    prunella.save_weights(tmp_path / "weights.safetensors", model)

    fresh = net()
    prunella.load_weights(tmp_path / "weights.safetensors", fresh)
    loaded = OPTIMIZERS[name](fresh)
    prunella.load_optimizer(path, loaded, fresh)
    same(optimizer, loaded)
    assert "initial_lr" in loaded.param_groups[0]
    step(model, optimizer, 3)
    step(fresh, loaded, 3)
    same(optimizer, loaded)
    for (key, expected), found in zip(
        model.state_dict().items(), fresh.state_dict().values(), strict=True
    ):
        assert torch.equal(expected, found), key


def test_names_are_the_parameters_own(tmp_path):
    path = tmp_path / "optimizer.safetensors"
    model = net()
    optimizer = OPTIMIZERS["Adam"](model)
    step(model, optimizer)
    prunella.save_optimizer(path, optimizer, model)
    with safe_open(path, framework="pt") as file:
        assert "state 4.weight exp_avg" in set(file.keys())
        assert torch.equal(
            file.get_tensor("state 0.bias exp_avg_sq"), optimizer.state[model[0].bias]["exp_avg_sq"]
        )
    # The order of parameters within a group does not matter.
    twisted = torch.optim.Adam(
        [{"params": list(reversed(group["params"]))} for group in groups(model)]
    )
    prunella.load_optimizer(path, twisted, model)
    assert torch.equal(
        twisted.state[model[4].bias]["exp_avg"], optimizer.state[model[4].bias]["exp_avg"]
    )
    assert [group["lr"] for group in twisted.param_groups] == [0.03, 0.01]
    assert twisted.param_groups[0]["betas"] == (0.8, 0.95)


def test_layout_follows_the_parameters(tmp_path):
    path = tmp_path / "optimizer.safetensors"
    model = net().to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters())
    step(model, optimizer)
    prunella.save_optimizer(path, optimizer, model)
    loaded = torch.optim.Adam(model.parameters())
    prunella.load_optimizer(path, loaded, model)
    found = loaded.state[model[0].weight]["exp_avg"]
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert not found.is_contiguous()
    same(optimizer, loaded)


def test_what_was_in_the_optimizer_goes(tmp_path):
    path = tmp_path / "optimizer.safetensors"
    model = net()
    prunella.save_optimizer(path, torch.optim.Adam(model.parameters()), model)
    used = torch.optim.Adam(model.parameters())
    step(model, used)
    prunella.load_optimizer(path, used, model)
    assert not used.state


# -- refusals ------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "optimizer.safetensors"
    model = net()
    optimizer = OPTIMIZERS["Adam"](model)
    step(model, optimizer)
    prunella.save_optimizer(path, optimizer, model)
    return path, model, optimizer


def test_another_class_other_groups_and_another_size(saved):
    path, model, _ = saved
    cases = {
        r"holds the state of Adam, but the given optimiser is SGD": OPTIMIZERS["SGD"](model),
        r"only in the given optimiser is '0.weight' in group 0": torch.optim.Adam(
            model.parameters()
        ),
        r"only in the file is '1.bias' in group 1": torch.optim.Adam(
            [groups(model)[0], {"params": [*model[0].parameters(), model[1].weight]}]
        ),
        r"only in the file is '0.weight' in group 1": torch.optim.Adam([groups(model)[0]]),
    }
    for message, optimizer in cases.items():
        rates = [group["lr"] for group in optimizer.param_groups]
        with pytest.raises(FileError, match=message):
            prunella.load_optimizer(path, optimizer, model)
        assert not optimizer.state
        assert [group["lr"] for group in optimizer.param_groups] == rates

    graph = prunella.trace(model, INPUTS[:1])
    small = prunella.Plan.from_kept(graph, {"0": [1, 2]}).apply(model)
    optimizer = OPTIMIZERS["Adam"](small)
    message = r"written when '4.weight' had shape \(3, 54\), but now it has shape \(3, 18\)"
    with pytest.raises(FileError, match=message):
        prunella.load_optimizer(path, optimizer, small)
    assert not optimizer.state


def test_optimizer_of_another_model(saved, tmp_path):
    path, _, optimizer = saved
    with pytest.raises(
        InputError, match=r"the Adam has a parameter of shape \(3, 54\) that is none"
    ):
        prunella.save_optimizer(tmp_path / "other", optimizer, net())
    with pytest.raises(InputError, match=r"expected an optimiser of model.parameters\(\)"):
        prunella.load_optimizer(path, optimizer, net())
    assert not (tmp_path / "other").exists()


def test_what_cannot_be_written_is_named(saved, tmp_path):
    _, model, optimizer = saved
    optimizer.param_groups[1]["key"] = len
    with pytest.raises(InputError, match=r"group 1 of the Adam: 'key' is a builtin_function"):
        prunella.save_optimizer(tmp_path / "other", optimizer, model)
    del optimizer.param_groups[1]["key"]
    optimizer.state[model[4].bias]["past"] = [torch.ones(3)]
    with pytest.raises(InputError, match=r"the optimiser's state of '4.bias': 'past' is a list"):
        prunella.save_optimizer(tmp_path / "other", optimizer, model)
    del optimizer.state[model[4].bias]["past"]
    optimizer.state["all"]["step"] = 1
    with pytest.raises(InputError, match="keeps state that belongs to no parameter"):
        prunella.save_optimizer(tmp_path / "other", optimizer, model)
    assert not (tmp_path / "other").exists()


def test_other_and_damaged_files(saved, tmp_path):
    path, model, _ = saved
    fresh = OPTIMIZERS["Adam"](model)
    with pytest.raises(FileError, match="no such file"):
        prunella.load_optimizer(tmp_path / "none", fresh, model)
    weights = tmp_path / "weights.safetensors"
    prunella.save_weights(weights, model)
    with pytest.raises(FileError, match=r"weights.safetensors: holds no optimiser"):
        prunella.load_optimizer(weights, fresh, model)
    tensors, metadata = weight_files.read_tensors(path)
    content = json.loads(metadata["content"])
    del content["groups"][0]["options"]
    missing = {name: t for name, t in tensors.items() if name != "state 4.bias exp_avg"}
    for changed, header, message in (
        (tensors, {"prunella-optimizer": "2"}, "format version 2, this prunella reads 1"),
        (tensors, {"content": "{"}, "damaged"),
        (tensors, {"content": "[]"}, "damaged"),
        (tensors, {"content": json.dumps(content)}, "damaged"),
        (missing, {}, "damaged"),
    ):
        weight_files.save_tensors(path, changed, {**metadata, **header})
        with pytest.raises(FileError, match=message):
            prunella.load_optimizer(path, fresh, model)
    assert not fresh.state
