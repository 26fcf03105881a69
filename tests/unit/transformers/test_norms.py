"""Residual streams behind normalisations: whole unless asked for, and then only shapes are kept."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from torch import nn

import prunella

_spec = importlib.util.spec_from_file_location("models", Path(__file__).with_name("models.py"))
models = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(models)

pytestmark = pytest.mark.filterwarnings("ignore::prunella.ConfigWarning")

STREAMS = {
    "BERT": ("bert.embeddings.word_embeddings", 48, models.bert),
    "ViT": ("vit.embeddings.patch_embeddings.projection", 48, models.hf_vit),
    "torchvision ViT": ("conv_proj", 48, models.vit),
    "timm BEiT": ("patch_embed.proj", 48, lambda: models.of_timm("beit_base_patch16_224")),
    "torchvision Swin": ("features.0.0", 24, lambda: models.swin(second=False)),
    "Llama": ("model.embed_tokens", 64, lambda: models.grouped_query("llama", 8, 2)),
    "Qwen3": ("model.embed_tokens", 64, lambda: models.grouped_query("qwen3", 8, 2)),
}


@pytest.mark.parametrize("name", STREAMS)
def test_stream_is_cut_on_request_only(name):
    group, size, build = STREAMS[name]
    model, inputs = build()
    model = models.shaken(model)
    assert all(g.exact for g in prunella.trace(model, inputs).prunable)
    graph = prunella.trace(model, inputs, through_norms=True)
    found = graph.group(group)
    assert (found.size, found.prunable, found.exact) == (size, True, False)
    # Norms within heads mix nothing that could be removed apart.
    assert all(g.exact for g in graph.prunable if g.heads)
    kept = {g.name: list(range(0, g.size, 2)) for g in graph.prunable}
    plan = prunella.Plan.from_kept(graph, kept)
    small = plan.apply(model)
    out = small(**inputs) if isinstance(inputs, dict) else small(inputs)
    out = out if isinstance(out, torch.Tensor) else out.logits
    assert bool(out.isfinite().all())
    assert sum(p.numel() for p in small.parameters()) == plan.achieved.params
    for module in small.modules():
        if isinstance(module, nn.LayerNorm):
            assert module.normalized_shape == tuple(module.weight.shape)
            assert module.normalized_shape[0] in (size // 2, size, 2 * size)


class Mean(nn.Module):
    """A mean over channels that is no norm's."""

    def __init__(self, *, squared: bool) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 3)
        self.squared = squared

    def forward(self, x):
        x = self.a(x)
        seen = x * x if self.squared else x.abs()
        return self.b(x * torch.rsqrt(seen.mean(-1, keepdim=True) + 1e-6))


def test_only_the_mean_of_squares_is_taken_for_a_norm():
    x = torch.randn(2, 4)
    for squared in (False, True):
        model = Mean(squared=squared)
        assert not any(g.prunable for g in prunella.trace(model, x).groups)
        group = prunella.trace(model, x, through_norms=True).group("a")
        assert group.prunable == squared
        if not squared:
            assert "a reduction over channels (mean)" in group.reason


def test_root_mean_square_norm_of_torch():
    model = nn.Sequential(nn.Linear(4, 8), nn.RMSNorm(8), nn.Linear(8, 3))
    x = torch.randn(2, 4)
    assert not prunella.trace(model, x).group("0").prunable
    graph = prunella.trace(model, x, through_norms=True)
    small = prunella.Plan.from_kept(graph, {"0": [1, 2, 5]}).apply(model)
    assert small[1].normalized_shape == (3,)
    assert tuple(small(x).shape) == (2, 3)
