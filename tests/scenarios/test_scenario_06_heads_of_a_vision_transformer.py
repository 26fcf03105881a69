"""A 12-head ViT goes to 6 heads of 64 in five steps, trains after each, and is one file.

Nothing but the model and a sample is passed: no table of heads, no names of layers.
"""

from __future__ import annotations

import pytest
import timm
import torch
import torchvision
import transformers
from torch.nn import functional as F

import prunella

HEADS, WIDTH, CLASSES = 12, 64, 4
STEPS = (11, 10, 8, 7, 6)  # heads after each of the five steps
IMAGES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def of_torchvision():
    return torchvision.models.VisionTransformer(16, 8, 2, HEADS, HEADS * WIDTH, 32, num_classes=4)


def of_timm():
    return timm.create_model(
        "vit_base_patch16_224", pretrained=False, img_size=16, patch_size=8, depth=2, mlp_ratio=0.1,
        num_classes=CLASSES,
    )  # fmt: skip


def of_transformers():
    config = transformers.ViTConfig(
        hidden_size=HEADS * WIDTH, num_hidden_layers=2, num_attention_heads=HEADS,
        intermediate_size=32, image_size=16, patch_size=8, num_labels=CLASSES,
    )  # fmt: skip
    return transformers.ViTForImageClassification(config)


def logits(model, images):
    out = model(images)
    return out if isinstance(out, torch.Tensor) else out.logits


def attentions(model):
    """The two attention modules, and the shape of what each projects its heads with."""
    if isinstance(model, torchvision.models.VisionTransformer):
        found = [layer.self_attention for layer in model.encoder.layers]
        return [(m, m.num_heads, m.out_proj.weight.shape[1]) for m in found]
    if isinstance(model, transformers.ViTForImageClassification):
        found = [layer.attention for layer in model.vit.layers]
        return [(m, model.config.num_attention_heads, m.o_proj.weight.shape[1]) for m in found]
    return [(b.attn, b.attn.num_heads, b.attn.proj.weight.shape[1]) for b in model.blocks]


@pytest.mark.parametrize("build", [of_torchvision, of_timm, of_transformers])
def test_heads_step_by_step(build, tmp_path):
    torch.manual_seed(0)
    original = build().eval()
    with torch.no_grad():  # heads that begin at zero would make every output the same
        for parameter in original.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape))
    small, whole = original, None
    for step, left in enumerate(STEPS):
        graph = prunella.trace(small, IMAGES[:1], equal_layers=True)
        kept = {}
        for group in graph.prunable:
            if group.heads:
                scores = prunella.sensitivities(small, graph, [IMAGES])[group.name]
                kept[group.name] = scores.topk(left).indices.sort().values
        assert len(kept) == 2
        plan = prunella.Plan.from_kept(graph, kept)
        small = plan.apply(small)
        for _, count, rows in attentions(small):
            assert (count, rows) == (left, left * WIDTH)
        small.train()
        F.cross_entropy(logits(small, IMAGES), torch.tensor([0, 3])).backward()
        assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in small.parameters())
        small.zero_grad()
        small.eval()
        whole = plan if step == 0 else prunella.compose(whole, plan)
    path = tmp_path / "small.safetensors"
    prunella.save(path, small, whole)
    again = prunella.load(path, build()).eval()
    with torch.no_grad():
        found, expected = logits(again, IMAGES), logits(small, IMAGES)
        assert float((found - expected).abs().max()) <= 1e-6
        assert float((expected - logits(original, IMAGES)).abs().max()) > 1e-3
    assert [count for _, count, _ in attentions(again)] == [6, 6]
