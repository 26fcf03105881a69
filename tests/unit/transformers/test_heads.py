"""Attention heads as units, found from the data flow of networks of four packages."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path

import pytest
import torch

import prunella

_spec = importlib.util.spec_from_file_location("models", Path(__file__).with_name("models.py"))
models = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(models)

# Here layers are cut by hand and unequally; tests of the configuration are next door.
pytestmark = pytest.mark.filterwarnings("ignore::prunella.ConfigWarning")

# Heads of each group of heads, the hidden units of each MLP, and how to build the network.
NETWORKS = {
    "encoder": ([4, 4], [48, 48], models.encoder),
    "decoder": ([4, 4], [48], models.decoder),
    "cross": ([4], [], lambda: models.cross(batch_first=True)),
    "cross, sequence first": ([4], [], lambda: models.cross(batch_first=False)),
    "weights not returned": ([4], [], lambda: (models.Weighing(), torch.randn(2, 5, 24).double())),
    "torchvision ViT": ([4, 4], [96, 96], models.vit),
    "torchvision Swin": ([2, 2, 4, 4], [96, 96, 192, 192], lambda: models.swin(second=False)),
    "torchvision Swin V2": ([2, 2, 4, 4], [96, 96, 192, 192], lambda: models.swin(second=True)),
    "timm ViT": ([4, 4], [192, 192], lambda: models.of_timm("vit_tiny_patch16_224")),
    "timm ViT, normed": (
        [4, 4], [192, 192], lambda: models.of_timm("vit_tiny_patch16_224", qk_norm=True),
    ),
    "timm DeiT": ([4, 4], [192, 192], lambda: models.of_timm("deit_tiny_distilled_patch16_224")),
    "timm BEiT": (
        [4, 4], [192, 192], lambda: models.of_timm("beit_base_patch16_224", use_rel_pos_bias=True),
    ),
    "timm EVA": ([4, 4], [128, 128], lambda: models.of_timm("eva02_tiny_patch14_224")),
    "timm Swin": (
        [2, 2, 4, 4], [96, 96, 192, 192], lambda: models.of_timm("swin_tiny_patch4_window7_224"),
    ),
    "timm Swin V2": (
        [2, 2, 4, 4], [96, 96, 192, 192], lambda: models.of_timm("swinv2_tiny_window8_256"),
    ),
    "BERT": ([4, 4], [96, 96], models.bert),
    "BERT, eager": ([4, 4], [96, 96], lambda: models.bert(attn_implementation="eager")),
    "ViT": ([4, 4], [96, 96], models.hf_vit),
    "GPT-2": ([4, 4], [192, 192], models.gpt2),
    "DistilBERT": ([4, 4], [96, 96], models.distilbert),
    "T5": ([4, 4], [96, 96, 96, 96], models.t5),
    "Llama 28/4": ([4, 4], [96, 96], lambda: models.grouped_query("llama", 28, 4)),
    "Llama 28/4, eager": (
        [4, 4], [96, 96],
        lambda: models.grouped_query("llama", 28, 4, attn_implementation="eager"),
    ),
    "Qwen2 28/4": ([4, 4], [96, 96], lambda: models.grouped_query("qwen2", 28, 4)),
    "Qwen3 8/2": ([2, 2], [96, 96], lambda: models.grouped_query("qwen3", 8, 2)),
    "Llama 6/6": ([6, 6], [96, 96], lambda: models.grouped_query("llama", 6, 6)),
    "Llama 4/1": ([], [96, 96], lambda: models.grouped_query("llama", 4, 1)),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_heads_and_hidden_units_are_cut_exactly(name):
    heads, hidden, build = NETWORKS[name]
    model, inputs = build()
    model = models.shaken(model)
    graph = prunella.trace(model, inputs)
    found = [group.size for group in graph.prunable if group.heads]
    assert found == heads
    others = Counter(group.size for group in graph.prunable if not group.heads)
    assert Counter(hidden) <= others
    kept = {group.name: list(range(1, group.size, 2)) for group in graph.prunable}
    plan = prunella.Plan.from_kept(graph, kept)
    small, difference = plan.apply_verified(model)
    assert difference < 1e-12
    assert sum(p.numel() for p in small.parameters()) == plan.achieved.params
    # Its own trace finds the heads that are left, so it can be cut again.
    again = [g.size for g in prunella.trace(small, inputs).prunable if g.heads]
    assert again == [size // 2 for size in heads if size > 3]


@pytest.mark.parametrize("name", ["torchvision ViT", "torchvision Swin V2", "GPT-2", "Qwen2 28/4"])
def test_sensitivities_of_heads_are_positive_and_differ(name):
    heads, _, build = NETWORKS[name]
    model, inputs = build()
    model = models.shaken(model)
    graph = prunella.trace(model, inputs)
    scores = prunella.sensitivities(model, graph, [inputs])
    assert len([g for g in graph.prunable if g.heads]) == len(heads)
    for group in graph.prunable:
        assert bool((scores[group.name] > 0).all())
        assert len(scores[group.name].unique()) > 1
        assert scores.sums[group.name] > 0


def test_labels_in_a_batch_are_not_given_to_the_model_and_every_tensor_counts():
    model, inputs = models.bert()
    model = models.shaken(model)
    graph = prunella.trace(model, inputs)
    plain = prunella.sensitivities(model, graph, [inputs])
    labelled = prunella.sensitivities(model, graph, [{**inputs, "labels": torch.zeros(2).long()}])
    paired = prunella.sensitivities(model, graph, [(inputs, torch.zeros(2).long())])
    assert plain.samples == labelled.samples == paired.samples
    for name in plain:
        assert torch.equal(plain[name], labelled[name])
        assert torch.equal(plain[name], paired[name])
    mask = inputs["attention_mask"].clone()
    mask[1, 4:] = 0
    masked = prunella.sensitivities(model, graph, [{**inputs, "attention_mask": mask}])
    assert masked.samples.overlap(plain.samples) == 1
    with pytest.raises(prunella.DataError, match=r"inputs with tensors of shapes .*first axis"):
        prunella.sensitivities(model, graph, [{**inputs, "attention_mask": mask[:1]}])


def test_counts_of_a_grouped_query_model_stay_in_proportion():
    model, inputs = models.grouped_query("llama", 28, 4)
    graph = prunella.trace(model, inputs)
    first = graph.prunable[0]
    assert (first.name, first.size) == ("model.layers.0.self_attn.q_proj", 4)
    small = prunella.Plan.from_kept(graph, {first.name: [0, 2, 3]}).apply(model)
    attention = small.model.layers[0].self_attn
    assert tuple(attention.q_proj.weight.shape) == (21 * 8, 224)
    assert tuple(attention.k_proj.weight.shape) == (3 * 8, 224)
    assert (attention.num_key_value_groups, attention.head_dim) == (7, 8)


def test_slim_forms_attend_as_the_originals_do():
    """With all heads left, each slim form must be its original: it is checked on its own."""
    from prunella.surgery import attributes

    for name in ("torchvision Swin", "torchvision Swin V2", "timm BEiT", "timm EVA",
                 "timm Swin V2"):  # fmt: skip
        model, inputs = NETWORKS[name][2]()
        model = models.shaken(model)
        expected = model(inputs)
        swapped = 0
        for module in model.modules():
            kind = f"{type(module).__module__}.{type(module).__qualname__}"
            if kind in attributes._SLIM_FORMS:
                module.__class__ = attributes._SLIM_FORMS[kind]
                swapped += 1
        assert swapped
        torch.testing.assert_close(model(inputs), expected, rtol=1e-9, atol=1e-11)


def test_shifted_windows_of_an_image_that_does_not_divide():
    """Padding, and a window that is larger than what is left of the image in one direction."""
    from torchvision.models.swin_transformer import ShiftedWindowAttention

    from prunella.surgery.windows import SlimShiftedWindowAttention

    for size in ((9, 14), (4, 11), (3, 4)):
        module = models.shaken(ShiftedWindowAttention(24, [4, 4], [2, 2], 3))
        image = torch.randn(2, *size, 24).double()
        expected = module(image)
        module.__class__ = SlimShiftedWindowAttention
        torch.testing.assert_close(module(image), expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("extra", ["add_bias_kv", "add_zero_attn"])
def test_attention_with_entries_beside_the_keys_keeps_its_heads(extra):
    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = torch.nn.MultiheadAttention(24, 4, batch_first=True, **{extra: True})
            self.hidden, self.head = torch.nn.Linear(24, 9), torch.nn.Linear(9, 2)

        def forward(self, x):
            return self.head(self.hidden(self.attention(x, x, x, need_weights=False)[0]).relu())

    model = models.shaken(Model())
    x = torch.randn(2, 5, 24).double()
    graph = prunella.trace(model, x)
    assert not any(group.heads for group in graph.prunable)
    small = prunella.Plan.from_kept(graph, {"hidden": [0, 4, 8]}).apply(model)
    assert type(small.attention) is torch.nn.MultiheadAttention


def test_the_model_that_is_traced_keeps_its_kind_of_attention():
    model, inputs = models.encoder()
    before = {name: id(parameter) for name, parameter in model.named_parameters()}
    prunella.trace(model.double(), inputs)
    assert {type(m) for m in model.modules() if hasattr(m, "in_proj_weight")} == {
        torch.nn.MultiheadAttention
    }
    assert {name: id(parameter) for name, parameter in model.named_parameters()} == before
