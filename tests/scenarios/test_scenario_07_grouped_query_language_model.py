"""A language model with 28 query and 4 key/value heads: heads go by groups, the config follows."""

from __future__ import annotations

import pytest
import torch
import transformers

import prunella

TOKENS = torch.randint(0, 64, (16, 12), generator=torch.Generator().manual_seed(0))
KINDS = {
    "llama": (transformers.LlamaForCausalLM, transformers.LlamaConfig),
    "qwen2": (transformers.Qwen2ForCausalLM, transformers.Qwen2Config),
}


def language_model(kind):
    model, config = KINDS[kind]
    torch.manual_seed(0)
    return model(
        config(
            hidden_size=168, num_hidden_layers=3, num_attention_heads=28, num_key_value_heads=4,
            intermediate_size=160, vocab_size=64, max_position_embeddings=64, bos_token_id=0,
            eos_token_id=1, initializer_range=0.2,
        )
    ).eval()  # fmt: skip


def logits(model):
    with torch.no_grad():
        return model(input_ids=TOKENS, use_cache=False).logits


@pytest.mark.parametrize("kind", KINDS)
def test_from_a_budget_to_from_pretrained(kind, tmp_path):
    model = language_model(kind)
    inputs = {"input_ids": TOKENS[:1], "use_cache": False}
    graph = prunella.trace(model, inputs, equal_layers=True)
    scores = prunella.sensitivities(model, graph, [{"input_ids": TOKENS}])
    plan = prunella.plan(graph, scores, prunella.Params(0.7))
    small = plan.apply(model)

    # A key/value head goes with its seven query heads, by the same number in every layer.
    heads = [len(plan.kept[group.name]) for group in graph.prunable if group.heads]
    assert len(heads) == 3
    assert len(set(heads)) == 1
    for layer in small.model.layers:
        attention = layer.self_attn
        groups = attention.k_proj.out_features // 6
        assert groups == heads[0]
        assert attention.q_proj.out_features == 7 * groups * 6

    # The ratio that was asked for lies between two that can be reached: both are said.
    share = plan.achieved.params / plan.original.params
    assert share <= 0.7
    assert f"{100 * share:.1f} % of the parameters" in str(plan)
    assert share == pytest.approx(sum(p.numel() for p in small.parameters()) / plan.original.params)

    config = small.config
    assert config.num_key_value_heads == heads[0]
    assert config.num_attention_heads == 7 * heads[0]
    assert config.head_dim == 6
    assert config.intermediate_size == small.model.layers[0].mlp.up_proj.out_features
    small.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path).eval()
    assert float((logits(again) - logits(small)).abs().max()) <= 1e-6
    text = again.generate(TOKENS[:1, :4], max_new_tokens=3, do_sample=False, pad_token_id=1)
    assert text.shape[1] <= 7  # the cache of keys and values fits what is left


def test_heads_between_two_groups_are_refused_and_a_ratio_is_rounded_and_said():
    model = language_model("llama")
    inputs = {"input_ids": TOKENS[:1], "use_cache": False}
    # Heads alone: 0.9 of the parameters lies between 4 and 3 of 4 groups.
    graph = prunella.trace(model, inputs, equal_layers=True, exclude=["*.mlp.*"])
    heads = [group for group in graph.prunable if group.heads]
    assert [group.size for group in heads] == [4, 4, 4] == [group.size for group in graph.prunable]
    for group in heads:
        with pytest.raises(prunella.InputError, match="units 0 to 3"):
            prunella.Plan.from_kept(graph, {group.name: range(7)})
    shares = {}
    for left in (4, 3):
        kept = {group.name: range(left) for group in heads}
        achieved = prunella.Plan.from_kept(graph, kept).achieved
        shares[left] = achieved.params / prunella.cost(model, inputs).params
    scores = prunella.sensitivities(model, graph, [{"input_ids": TOKENS}])
    asked = (shares[4] + shares[3]) / 2
    plan = prunella.plan(graph, scores, prunella.Params(asked))
    assert {len(plan.kept[group.name]) for group in heads} == {3}
    assert plan.requested == prunella.Params(asked)
    assert f"{100 * shares[3]:.1f} % of the parameters" in str(plan)


def test_a_config_that_refuses_the_number_of_heads_is_left_alone():
    """Transformers' Llama wants a stream that is a multiple of its heads, needed or not."""
    model, config = KINDS["llama"]
    numbers = {"hidden_size": 56, "num_hidden_layers": 1, "num_attention_heads": 28}
    made = config(
        **numbers, num_key_value_heads=4, intermediate_size=8, vocab_size=64, head_dim=2,
        bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    odd = model(made).eval()
    graph = prunella.trace(odd, {"input_ids": TOKENS[:1], "use_cache": False})
    plan = prunella.Plan.from_kept(graph, {"model.layers.0.self_attn.q_proj": [0, 1, 3]})
    with pytest.warns(prunella.ConfigWarning, match=r"not a multiple of the number of attention"):
        small = plan.apply(odd)
    assert small.config.num_attention_heads == 28
