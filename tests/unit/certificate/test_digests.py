"""A model's name changes with its weights and with nothing else."""

from __future__ import annotations

import copy

import torch
from torch import nn

from prunella.certificate import model_digest


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(3, 2))


def test_same_weights_same_digest() -> None:
    model = network()
    digest = model_digest(model)
    assert len(digest) == 32
    assert int(digest, 16) >= 0
    assert model_digest(copy.deepcopy(model).eval().requires_grad_(False)) == digest
    # memory layout is not content
    assert model_digest(copy.deepcopy(model).to(memory_format=torch.channels_last)) == digest


def test_order_of_entries_does_not_matter() -> None:
    one, two = nn.Module(), nn.Module()
    a, b = nn.Parameter(torch.ones(2)), nn.Parameter(torch.zeros(3))
    one.a, one.b = a, b
    two.b, two.a = b, a
    assert model_digest(one) == model_digest(two)


def test_every_change_changes_it() -> None:
    model = network()
    digests = {model_digest(model)}
    for name in ("0.weight", "1.running_mean", "1.num_batches_tracked"):
        changed = copy.deepcopy(model)
        changed.state_dict()[name].view(-1)[0].add_(1)
        digests.add(model_digest(changed))
    digests.add(model_digest(copy.deepcopy(model).double()))
    digests.add(model_digest(copy.deepcopy(model).bfloat16()))
    digests.add(model_digest(nn.Sequential(*model, nn.Identity(), nn.Linear(1, 1))))
    reshaped = copy.deepcopy(model)
    reshaped[2].weight = nn.Parameter(model[2].weight.detach().reshape(3, 2))
    digests.add(model_digest(reshaped))
    assert len(digests) == 8


def test_sign_of_zero_and_nan_are_content() -> None:
    model = nn.Linear(1, 1, bias=False)
    names = set()
    for value in (0.0, -0.0, float("nan")):
        with torch.no_grad():
            model.weight.fill_(value)
        names.add(model_digest(model))
    assert len(names) == 3


def test_entries_that_are_no_plain_tensors() -> None:
    class Extra(nn.Linear):
        def get_extra_state(self):
            return {"format": 1}

        def set_extra_state(self, state):
            pass

    torch.manual_seed(0)
    extra = Extra(2, 2)
    torch.manual_seed(0)
    assert model_digest(extra) != model_digest(nn.Linear(2, 2))
    sparse = nn.Module()
    sparse.register_buffer("table", torch.eye(3).to_sparse())
    dense = nn.Module()
    dense.register_buffer("table", torch.eye(3))
    assert model_digest(sparse) == model_digest(dense)
