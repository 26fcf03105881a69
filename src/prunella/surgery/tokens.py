"""Attention of timm's networks whose code takes all heads together to be as wide as their input."""

from __future__ import annotations

import math
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_LARGEST_LOG_SCALE = math.log(100.0)


class _SlimAttention(nn.Module):
    """Shared by what follows: queries, keys and values from one matrix, and the way back.

    All tensors and attributes have the names they had in the module that was cut. Made by
    `Plan.apply` and `load`, never by a constructor.
    """

    num_heads: int
    qkv: nn.Linear
    proj: nn.Linear
    attn_drop: nn.Dropout
    proj_drop: nn.Dropout
    q_bias: Tensor | None
    k_bias: Tensor
    v_bias: Tensor

    def _heads(
        self,
        inputs: Tensor,  # (N, L, C)
    ) -> tuple[Tensor, ...]:
        """Queries, keys and values, each (N, heads, L, d)."""
        made = self.qkv(inputs)
        if self.q_bias is not None:
            made = made + torch.cat((self.q_bias, self.k_bias, self.v_bias))
        split: Tensor = made.reshape(*made.shape[:-1], 3, self.num_heads, -1)
        return split.permute(2, 0, 3, 1, 4).unbind(0)

    def _joined(
        self,
        heads: Tensor,  # (N, heads, L, d)
    ) -> Tensor:
        out: Tensor = self.proj_drop(self.proj(heads.transpose(1, 2).flatten(2)))
        return out

    def _dropout(self) -> float:
        return self.attn_drop.p if self.training else 0.0


@final
class SlimBeitAttention(_SlimAttention):
    """What is left of `timm.models.beit.Attention` after some of its heads were removed."""

    scale: float
    window_size: tuple[int, int] | None
    relative_position_index: Tensor
    relative_position_bias_table: Tensor | None

    def forward(
        self,
        x: Tensor,  # (N, L, C)
        shared_rel_pos_bias: Tensor | None = None,  # (1, heads, L, L)
    ) -> Tensor:
        """The attended tokens, (N, L, C)."""
        query, key, value = self._heads(x)
        bias = shared_rel_pos_bias
        if self.relative_position_bias_table is not None:
            size = self.relative_position_index.shape
            rows = self.relative_position_bias_table[self.relative_position_index.view(-1)]
            own = rows.view(*size, -1).permute(2, 0, 1)[None]
            bias = own if bias is None else own + bias
        out = F.scaled_dot_product_attention(
            query, key, value, bias, self._dropout(), scale=self.scale
        )
        return self._joined(out)


@final
class SlimCosineWindowAttention(_SlimAttention):
    """What is left of `timm.models.swin_transformer_v2.WindowAttention` after a cut of heads."""

    logit_scale: Tensor
    cpb_mlp: nn.Module
    relative_coords_table: Tensor
    relative_position_index: Tensor
    softmax: nn.Module

    def forward(
        self,
        x: Tensor,  # (windows of all images, area, C)
        mask: Tensor | None = None,  # (windows of one image, area, area)
    ) -> Tensor:
        """The attended tokens, (windows of all images, area, C)."""
        query, key, value = self._heads(x)
        scores = F.normalize(query, dim=-1) @ F.normalize(key, dim=-1).mT
        scores = scores * self.logit_scale.clamp(max=_LARGEST_LOG_SCALE).exp()
        scores = scores + 16 * self._position_bias().sigmoid()
        if mask is not None:
            by_image = scores.unflatten(0, (-1, len(mask))) + mask[:, None]
            scores = by_image.flatten(0, 1)
        return self._joined(self.attn_drop(self.softmax(scores)) @ value)

    def _position_bias(self) -> Tensor:
        """(heads, area, area)."""
        table: Tensor = self.cpb_mlp(self.relative_coords_table).view(-1, self.num_heads)
        size = self.relative_position_index.shape
        return table[self.relative_position_index.view(-1)].view(*size, -1).permute(2, 0, 1)


@final
class SlimEvaAttention(_SlimAttention):
    """What is left of `timm.models.eva.EvaAttention` after some of its heads were removed."""

    scale: float
    num_prefix_tokens: int
    qkv: Any
    q_proj: Any
    k_proj: Any
    v_proj: Any
    q_norm: nn.Module
    k_norm: nn.Module
    norm: nn.Module
    gate: nn.Module | None

    def forward(
        self,
        x: Tensor,  # (N, L, C)
        rope: Tensor | None = None,  # (L - prefix, 2 d), sines and cosines
        attn_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """The attended tokens, (N, L, C)."""
        if self.qkv is not None:
            query, key, value = self._heads(x)
        else:
            query, key, value = (
                part(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
                for part in (self.q_proj, self.k_proj, self.v_proj)
            )
        query, key = self.q_norm(query), self.k_norm(key)
        if rope is not None:
            query, key = (self._rotated(part, rope).type_as(value) for part in (query, key))
        out = F.scaled_dot_product_attention(
            query, key, value, attn_mask, self._dropout(), is_causal=is_causal, scale=self.scale
        )
        joined = self.norm(out.transpose(1, 2).flatten(2))
        if self.gate is not None:
            joined = joined * self.gate(x).sigmoid()
        attended: Tensor = self.proj_drop(self.proj(joined))
        return attended

    def _rotated(
        self,
        heads: Tensor,  # (N, heads, L, d)
        rope: Tensor,
    ) -> Tensor:
        """Pairs of positions turned by the angle of each token; tokens of the prefix are not."""
        prefix, tokens = heads.split(
            [self.num_prefix_tokens, heads.shape[2] - self.num_prefix_tokens], dim=2
        )
        sine, cosine = rope.chunk(2, dim=-1)
        if getattr(self, "rotate_half", False):
            first, second = tokens.chunk(2, dim=-1)
            across = torch.cat([-second, first], dim=-1)
        else:
            pairs = tokens.unflatten(-1, (-1, 2))
            across = torch.stack([-pairs[..., 1], pairs[..., 0]], dim=-1).flatten(-2)
        return torch.cat([prefix, tokens * cosine + across * sine], dim=2)
