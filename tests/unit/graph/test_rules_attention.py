"""Attention: a unit is a head, with its queries, keys and values."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import prunella
from random_networks.attention import Attention
from small_models import Net, halved, names, units

TOKENS = torch.randn(1, 5, 8)


def around(attention):
    """Tokens that attention reads, and a layer that reads what it makes."""
    return Net(lambda m, x: m.last(m.attend(x)), attend=attention, last=nn.Linear(8, 2))


def hand_written(**given):
    options = {
        "heads": 4, "head_dim": 3, "shared": 1, "form": "apart", "core": "matmul",
        "counted": True, "repeat": "interleave", "bias": True,
    }  # fmt: skip
    return Attention(8, **{**options, **given})


@pytest.mark.parametrize("core", ["sdpa", "matmul", "bmm", "einsum"])
@pytest.mark.parametrize("form", ["three", "chunk", "apart"])
def test_a_unit_is_a_head_however_attention_is_written(form, core):
    graph, small = halved(around(hand_written(form=form, core=core)), TOKENS)
    (group,) = (g for g in graph.prunable if "attend" in g.heads)
    assert group.size == 4
    columns = [list(range(3 * head, 3 * head + 3)) for head in range(4)]
    assert units(graph, group.name, "attend.out.weight", 1) == columns
    if form == "apart":
        assert units(graph, group.name, "attend.query.weight", 0) == columns
    else:
        rows = [[n + 12 * part for part in range(3) for n in head] for head in columns]
        assert units(graph, group.name, "attend.fused.weight", 0) == rows
    assert (small.attend.num_heads, small.attend.head_dim) == (2, 3)


@pytest.mark.parametrize("repeat", ["interleave", "expand"])
def test_keys_that_queries_share_go_with_all_of_them(repeat):
    model = around(hand_written(shared=2, repeat=repeat))
    graph, small = halved(model, TOKENS)
    (group,) = (g for g in graph.prunable if "attend" in g.heads)
    assert group.size == 2
    assert units(graph, group.name, "attend.query.weight", 0)[0] == list(range(6))
    assert units(graph, group.name, "attend.key.weight", 0)[0] == list(range(3))
    assert (small.attend.num_heads, small.attend.num_key_value_heads) == (2, 1)


@pytest.mark.parametrize("weights", [True, False])
def test_packed_attention_loses_heads_and_goes_on(weights):
    inner = nn.MultiheadAttention(8, 4, batch_first=True)
    model = Net(
        lambda m, x: m.last(m.attend(x, x, x, need_weights=weights)[0]),
        attend=inner, last=nn.Linear(8, 2),
    )  # fmt: skip
    graph, small = halved(model, TOKENS)
    (group,) = (g for g in graph.prunable if "attend" in g.heads)
    assert group.size == 4
    assert units(graph, group.name, "attend.in_proj_weight", 0)[1] == [2, 3, 10, 11, 18, 19]
    assert (small.attend.num_heads, small.attend.head_dim) == (2, 2)
    assert "attend" in prunella.trace(small, TOKENS).group("attend").heads


def test_packed_attention_that_keeps_its_heads_may_read_and_make_less():
    """Found by random networks: only the layer before or the layer after was cut."""
    model = Net(
        lambda m, x: m.last(m.attend(*[m.first(x)] * 3)[0]),
        first=nn.Linear(8, 6), attend=nn.MultiheadAttention(6, 3, batch_first=True),
        last=nn.Linear(6, 2),
    )  # fmt: skip
    graph = prunella.trace(model, TOKENS)
    small = prunella.Plan.from_kept(graph, {"first": [0, 2, 3, 5]}).apply(model)
    assert (small.attend.embed_dim, small.attend.num_heads) == (4, 3)
    small = prunella.Plan.from_kept(graph, {"attend.out_proj": [1, 4]}).apply(model)
    assert small(TOKENS).shape == (1, 5, 2)
    assert small.attend.out_proj.out_features == 2


def test_products_are_counted_by_cost_as_by_trace():
    """Found by random networks: `cost` ran attention in its fused form, which hides products."""
    model = around(nn.MultiheadAttention(8, 4, batch_first=True))
    model._forward = lambda m, x: m.last(m.attend(x, x, x)[0])
    graph = prunella.trace(model, TOKENS)
    assert prunella.cost(model.eval(), TOKENS).macs == graph.macs
    assert graph.other_macs == 2 * 5 * 5 * 8


def test_softmax_over_tokens_keeps_the_channels_of_linear_attention():
    model = Net(
        lambda m, x: m.last(torch.softmax(m.first(x), 1) * m.gate(x)),
        first=nn.Linear(8, 6), gate=nn.Linear(8, 6), last=nn.Linear(6, 2),
    )  # fmt: skip
    graph, _ = halved(model, TOKENS)
    assert names(graph) == ["first"]


def test_average_over_heads_ties_them_only_where_it_is_used():
    model = Net(
        lambda m, x: m.attend(x, x, x), attend=nn.MultiheadAttention(8, 4, batch_first=True)
    )
    graph = prunella.trace(model, TOKENS)  # the averaged weights are an output
    (group,) = (g for g in graph.groups if g.name == "attend")
    assert (group.size, group.prunable) == (1, False)
