"""Small transformers of several packages, built from numbers; nothing is downloaded."""

from __future__ import annotations

import timm
import torch
import torchvision
import transformers as hf
from torch import nn
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformerBlockV2

TOKENS = torch.randint(0, 50, (2, 7), generator=torch.Generator().manual_seed(0))
IMAGE = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def shaken(model: nn.Module) -> nn.Module:
    """Weights that make every part matter: many networks begin with zeros and ones."""
    generator = torch.Generator().manual_seed(1)
    model = model.double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.15)
    return model


class Cross(nn.Module):
    """Attention to another sequence, with keys and values of other widths and a mask."""

    def __init__(self, *, batch_first: bool) -> None:
        super().__init__()
        self.embed = nn.Linear(3, 24)
        self.attention = nn.MultiheadAttention(24, 4, kdim=10, vdim=12, batch_first=batch_first)
        self.head = nn.Linear(24, 2)

    def forward(self, query, key, value, padding):
        embedded = self.embed(query)
        mask = torch.zeros(5, 6, dtype=torch.bool)
        mask[0, 3:] = True
        out, weights = self.attention(
            embedded, key, value, key_padding_mask=padding, attn_mask=mask, need_weights=False
        )
        assert weights is None
        return self.head(out)


class Weighing(nn.Module):
    """Self-attention whose averaged weights are asked for, but not returned."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(24, 4, batch_first=True, bias=False)
        self.head = nn.Linear(24, 2)

    def forward(self, x):
        out, _ = self.attention(x, x, x, need_weights=True)
        return self.head(out)


def cross(*, batch_first: bool):
    inputs = [
        torch.randn(2, 5, 3).double(),
        torch.randn(2, 6, 10).double(),
        torch.randn(2, 6, 12).double(),
    ]
    if not batch_first:
        inputs = [x.transpose(0, 1) for x in inputs]
    padding = torch.zeros(2, 6, dtype=torch.bool)
    padding[1, 5:] = True
    return Cross(batch_first=batch_first), (*inputs, padding)


def encoder():
    layer = nn.TransformerEncoderLayer(24, 4, 48, batch_first=True)
    model = nn.TransformerEncoder(layer, 2)
    return nn.Sequential(model, nn.Linear(24, 2)), torch.randn(2, 5, 24).double()


def decoder():
    layer = nn.TransformerDecoderLayer(24, 4, 48)
    model = nn.TransformerDecoder(layer, 1)
    return model, (torch.randn(5, 2, 24).double(), torch.randn(6, 2, 24).double())


def vit():
    return torchvision.models.VisionTransformer(32, 8, 2, 4, 48, 96, num_classes=5), IMAGE


def swin(*, second: bool):
    kinds = {"block": SwinTransformerBlockV2, "downsample_layer": PatchMergingV2} if second else {}
    model = torchvision.models.SwinTransformer(
        [4, 4], 24, [2, 2], [2, 4], [4, 4], num_classes=5, **kinds
    )
    return model, IMAGE


def of_timm(name: str, **arguments):
    own = {"patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 4}
    if "swin" in name:
        own = {"embed_dim": 24, "depths": (2, 2), "num_heads": (2, 4), "window_size": 4}
    model = timm.create_model(
        name, pretrained=False, img_size=32, num_classes=5, **own, **arguments
    )
    return model, IMAGE


def bert(kind=hf.BertForSequenceClassification, **numbers):
    config = hf.BertConfig(
        hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96,
        vocab_size=60, max_position_embeddings=32, **numbers,
    )  # fmt: skip
    inputs = {"input_ids": TOKENS, "attention_mask": torch.ones(2, 7, dtype=torch.long)}
    return kind(config), inputs


def hf_vit(**numbers):
    shape = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4} | numbers
    config = hf.ViTConfig(intermediate_size=96, image_size=32, patch_size=8, **shape)
    return hf.ViTForImageClassification(config), {"pixel_values": IMAGE}


def gpt2():
    config = hf.GPT2Config(
        n_embd=48, n_layer=2, n_head=4, vocab_size=60, n_positions=32, bos_token_id=0,
        eos_token_id=0,
    )  # fmt: skip
    return hf.GPT2LMHeadModel(config), {"input_ids": TOKENS, "use_cache": False}


def distilbert():
    config = hf.DistilBertConfig(
        dim=48, n_layers=2, n_heads=4, hidden_dim=96, vocab_size=60, max_position_embeddings=32
    )
    return hf.DistilBertForSequenceClassification(config), {"input_ids": TOKENS}


def t5(**numbers):
    config = hf.T5Config(
        d_model=48, d_kv=12, d_ff=96, num_layers=2, num_heads=4, vocab_size=60,
        decoder_start_token_id=0, **numbers,
    )  # fmt: skip
    inputs = {"input_ids": TOKENS, "decoder_input_ids": TOKENS, "use_cache": False}
    return hf.T5ForConditionalGeneration(config), inputs


def grouped_query(kind: str, heads: int, groups: int, **numbers):
    """A language model of the Llama type; heads are 8 wide."""
    kinds = {
        "llama": (hf.LlamaForCausalLM, hf.LlamaConfig),
        "qwen2": (hf.Qwen2ForCausalLM, hf.Qwen2Config),
        "qwen3": (hf.Qwen3ForCausalLM, hf.Qwen3Config),
    }
    model, config = kinds[kind]
    extra = {"head_dim": 8} if kind == "qwen3" else {}
    made = config(
        hidden_size=8 * heads, num_hidden_layers=2, num_attention_heads=heads,
        num_key_value_heads=groups, intermediate_size=96, vocab_size=60,
        max_position_embeddings=32, bos_token_id=0, eos_token_id=0, pad_token_id=None,
        **extra, **numbers,
    )  # fmt: skip
    return model(made), {"input_ids": TOKENS, "use_cache": False}
