"""A right rule passes; a wrong one is named with its group."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import prunella
from prunella.core.errors import GraphError, InputError
from prunella.graph.call import RULES
from prunella.testing import check_rule
from small_models import Net

TOKENS = torch.randn(1, 3, 5)


def around(function, read=6):
    return Net(
        lambda m, x: m.last(function(m.first(x))), first=nn.Conv1d(3, 6, 1),
        last=nn.Conv1d(read, 2, 1),
    )  # fmt: skip


@pytest.fixture
def registry(monkeypatch):
    """Rules of this test only."""
    monkeypatch.setattr("prunella.graph.call.RULES", dict(RULES))
    monkeypatch.setattr("prunella.graph.labelled_run.RULES", dict(RULES))

    def register(operation, function):
        monkeypatch.setitem(RULES, operation, function)
        monkeypatch.setattr("prunella.graph.labelled_run.RULES", RULES)

    return register


def passes(call, labels):
    labels.put(call.out, labels.get(call.first))


def test_a_right_rule(registry):
    model = around(lambda x: torch.cumprod(x, 2))
    assert "no rule is known" in prunella.trace(model, TOKENS).groups[1].reason
    registry("cumprod", passes)
    found = check_rule(model, TOKENS, seeds=range(4))
    assert (found.checked, found.cuts, found.failures) == (("first",), 4, ())
    assert found.frozen["last"] == "is an output of the model"
    assert str(found).startswith("4 cuts of 1 groups, 0 wrong\n")


def test_a_rule_that_does_not_see_that_channels_are_mixed(registry):
    registry("cumprod", passes)
    found = check_rule(around(lambda x: torch.cumprod(x, 1)), TOKENS)
    assert len(found.failures) >= 4
    (name,) = {failure.group for failure in found.failures}
    assert name == "first"
    assert "differs from the masked original by" in found.failures[0].words
    assert f"first, units {found.failures[0].kept[0]}" in str(found)


def test_a_rule_whose_cut_does_not_run_counts_as_wrong(registry):
    """`trace` would freeze it, and blame a number in the code."""

    def repeats_in_place(call, labels):
        labels.put(call.out, labels.get(call.first)[:, :1].expand(call.out.shape))

    registry("flip", repeats_in_place)
    model = around(lambda x: x.flip(1) + x)
    registry("add", lambda call, labels: labels.put(call.out, labels.get(call.args[1])))
    found = check_rule(model, TOKENS)
    assert found.failures


def test_parts_that_must_stay_equal_are_cut_together():
    def forward(m, x):
        left, right = m.first(x).chunk(2, 1)
        return m.left(left) + m.right(right)

    model = Net(forward, first=nn.Conv1d(3, 8, 1), left=nn.Conv1d(4, 2, 1),
                right=nn.Conv1d(4, 2, 1))  # fmt: skip
    found = check_rule(model, TOKENS, seeds=range(3))
    assert (found.checked, found.cuts, found.failures) == (("first[0:]", "first[4:]"), 3, ())


def test_nothing_of_the_model_changes():
    model = around(torch.relu)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    check_rule(model, TOKENS, seeds=[0])
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    assert model.first.weight.dtype is torch.float32


def test_errors():
    with pytest.raises(InputError, match=r"no seed is given; expected for instance seeds=range"):
        check_rule(around(torch.relu), TOKENS, seeds=[])
    with pytest.raises(GraphError, match="no rule is known for the operation"):
        check_rule(around(lambda x: torch.cumprod(x, 2)), TOKENS)


def test_an_operation_has_one_rule():
    with pytest.raises(InputError, match="operation 'relu' already has a rule"):
        prunella.register_rule("relu")(passes)
