"""The configuration object follows a cut, so that `from_pretrained` reads what is left."""

from __future__ import annotations

import copy
import importlib.util
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

import prunella

_spec = importlib.util.spec_from_file_location("models", Path(__file__).with_name("models.py"))
models = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(models)


def halved(model, inputs, **options):
    """The model with every second unit of each group."""
    graph = prunella.trace(model, inputs, equal_layers=True, **options)
    kept = {group.name: list(range(0, group.size, 2)) for group in graph.prunable}
    return prunella.Plan.from_kept(graph, kept).apply(model)


def logits(model, inputs):
    with torch.no_grad():
        return model(**inputs).logits


# Network, options of the trace, what changes in the configuration.
CUTS = {
    "llama": (
        lambda: models.grouped_query("llama", 28, 4), {},
        {"num_attention_heads": 14, "num_key_value_heads": 2, "intermediate_size": 48,
         "head_dim": 8, "hidden_size": 224},
    ),
    "qwen2 holds the width of heads fast": (
        lambda: models.grouped_query("qwen2", 28, 4), {},
        {"num_attention_heads": 14, "num_key_value_heads": 2, "intermediate_size": 48,
         "head_dim": 8},
    ),
    "vit holds the width of heads fast": (
        models.hf_vit, {}, {"num_attention_heads": 2, "intermediate_size": 48, "head_dim": 12},
    ),
    "bert": (
        models.bert, {"include": ["*.intermediate.dense.bias"]}, {"intermediate_size": 48},
    ),
    "gpt2 names a width that was left open": (
        models.gpt2, {"include": ["*.mlp.c_fc.bias"]}, {"n_inner": 96, "n_head": 4},
    ),
    "t5": (models.t5, {"include": ["*.DenseReluDense.wi"]}, {"d_ff": 48, "num_heads": 4}),
    "llama, stream": (
        lambda: models.grouped_query("llama", 8, 2), {"through_norms": True},
        {"num_attention_heads": 4, "num_key_value_heads": 1, "hidden_size": 32, "head_dim": 8},
    ),
    "bert, stream": (
        models.bert, {"through_norms": True},
        {"num_attention_heads": 2, "hidden_size": 24, "intermediate_size": 48},
    ),
    "vit, stream": (
        models.hf_vit, {"through_norms": True}, {"num_attention_heads": 2, "hidden_size": 24},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CUTS)
def test_what_is_left_is_read_by_from_pretrained(name, tmp_path):
    build, options, expected = CUTS[name]
    model, inputs = build()
    model = models.shaken(model)
    before = copy.deepcopy(model.config.to_dict())
    small = halved(model, inputs, **options)
    assert {key: getattr(small.config, key) for key in expected} == expected
    assert model.config.to_dict() == before
    # Parts share the configuration of the whole, as they did.
    owners = {id(m.config) for m in small.modules() if hasattr(m, "config")}
    assert len(owners) == len({id(m.config) for m in model.modules() if hasattr(m, "config")})
    small.save_pretrained(tmp_path)
    again = type(small).from_pretrained(tmp_path).eval()
    found = logits(small, inputs)
    assert bool(found.isfinite().all())
    torch.testing.assert_close(logits(again, inputs), found, rtol=0, atol=1e-6)
    assert float((found - logits(model, inputs)).abs().max()) > 1e-6


def test_heads_whose_width_follows_from_the_stream_leave_the_config_alone():
    model, inputs = models.bert()
    before = model.config.to_dict()
    words = r"config of BertForSequenceClassification cannot .*query.weight' would have shape \("
    with pytest.warns(prunella.ConfigWarning, match=words):
        small = halved(model, inputs)
    assert small.config.to_dict() == before


def test_layers_cut_unequally_leave_the_config_alone():
    model, inputs = models.grouped_query("llama", 8, 2)
    graph = prunella.trace(model, inputs)
    plan = prunella.Plan.from_kept(graph, {"model.layers.1.mlp.gate_proj": range(50)})
    with pytest.warns(prunella.ConfigWarning, match=r"unequally: trace with equal_layers=True"):
        small = plan.apply(model)
    assert small.config.intermediate_size == 96


def test_layers_of_one_kind_keep_equal_numbers():
    model, inputs = models.grouped_query("llama", 8, 2)
    graph = prunella.trace(model, inputs, equal_layers=True)
    balance = {group.name: group.balance for group in graph.prunable}
    assert balance["model.layers.1.mlp.gate_proj"] == "model.layers.0.mlp.gate_proj"
    assert balance["model.layers.1.self_attn.q_proj"] == "model.layers.0.self_attn.q_proj"
    with pytest.raises(prunella.InputError, match="gate_proj"):
        prunella.Plan.from_kept(graph, {"model.layers.1.mlp.gate_proj": range(50)})
    assert not any(g.balance for g in prunella.trace(model, inputs).prunable)


def test_parts_of_a_split_stay_linked():
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up = nn.Linear(4, 12)
            self.a, self.b = nn.Linear(6, 3), nn.Linear(6, 3)

        def forward(self, x):
            first, second = self.up(x).relu().chunk(2, dim=-1)
            return self.a(first) + self.b(second)

    model = nn.Sequential(Gated(), nn.Linear(3, 4), Gated())
    graph = prunella.trace(model, torch.randn(2, 4), equal_layers=True)
    assert {(g.size, g.balance) for g in graph.prunable if g.size == 6} == {(6, "0.up[0:]")}


@dataclass
class Numbers:
    width: int = 6
    hidden: int = 10


class Own(nn.Module):
    """A user's model of one configuration, without any package."""

    def __init__(self, config: Numbers) -> None:
        super().__init__()
        self.config = config
        self.a = nn.Linear(config.width, config.hidden)
        self.b = nn.Linear(config.hidden, config.width)

    def forward(self, x):
        return self.b(self.a(x).relu())


def test_any_configuration_object_will_do_and_rounding_is_not_needed():
    model = Own(Numbers())
    graph = prunella.trace(model, torch.randn(1, 6))
    small = prunella.Plan.from_kept(graph, {"a": [0, 3, 7]}).apply(model)
    assert (model.config, small.config) == (Numbers(6, 10), Numbers(6, 3))
    assert type(small)(small.config).load_state_dict(small.state_dict())


def test_a_model_that_is_not_built_from_its_config_is_left_alone():
    class Other(nn.Sequential):
        config = None

    model = Other(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 6))
    model.config = Numbers()
    graph = prunella.trace(model, torch.randn(1, 6))
    small = prunella.Plan.from_kept(graph, {"0": [1]}).apply(model)
    assert small.config == Numbers()


def test_load_brings_the_config_in_line_too(tmp_path):
    model, inputs = models.grouped_query("qwen2", 8, 2)
    graph = prunella.trace(model, inputs, equal_layers=True)
    heads = [group.name for group in graph.prunable if group.heads]
    plan = prunella.Plan.from_kept(graph, {name: [1] for name in heads})
    small = plan.apply(model)
    prunella.save(tmp_path / "small.safetensors", small, plan)
    again = prunella.load(tmp_path / "small.safetensors", models.grouped_query("qwen2", 8, 2)[0])
    assert again.config.num_attention_heads == small.config.num_attention_heads == 4
    torch.testing.assert_close(logits(again.eval(), inputs), logits(small.eval(), inputs))


def test_on_the_meta_device_where_there_are_no_values():
    with torch.device("meta"):
        large = models.grouped_query("qwen2", 28, 4)[0]
    model, inputs = models.grouped_query("qwen2", 28, 4)
    small = halved(large, inputs)
    assert all(parameter.is_meta for parameter in small.parameters())
    expected = halved(model, inputs)
    assert small.config.to_dict() == expected.config.to_dict()
    found = {name: tensor.shape for name, tensor in small.state_dict().items()}
    assert found == {name: tensor.shape for name, tensor in expected.state_dict().items()}
