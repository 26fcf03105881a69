"""Multi-head attention with fewer heads than its inputs are wide."""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prunella.ops import copy_module


@final
class SlimMultiheadAttention(nn.MultiheadAttention):
    """What is left of `torch.nn.MultiheadAttention` after some of its heads were removed.

    Parameters have the names they had, with fewer rows for queries, keys and values and fewer
    columns of the output projection. `embed_dim` is the width of the queries it reads; all heads
    together are `num_heads * head_dim` wide, and what it makes is as wide as `out_proj` says. Made
    by `Plan.apply` and `load`, never by its constructor.
    """

    def forward(
        self,
        query: Tensor,  # (N, L, E) with batch_first, else (L, N, E); or (L, E)
        key: Tensor,  # (N, S, kdim) ...
        value: Tensor,  # (N, S, vdim) ...
        key_padding_mask: Tensor | None = None,  # (N, S)
        need_weights: bool = True,
        attn_mask: Tensor | None = None,  # (L, S) or (N * heads, L, S)
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """As in `torch.nn.MultiheadAttention`; a mask for each head has the remaining heads."""
        batched = query.dim() == 3
        if not batched:
            query, key, value = (x.unsqueeze(0) for x in (query, key, value))
        elif not self.batch_first:
            query, key, value = (x.transpose(0, 1) for x in (query, key, value))
        heads = [
            self._heads(x, part) for part, x in enumerate((query, key, value))
        ]  # (N, heads, L or S, head_dim)
        mask = self._mask(key_padding_mask, attn_mask, heads[0], is_causal=is_causal)
        out, weights = self._attend(heads, mask, need_weights=need_weights)
        out = self.out_proj(out.transpose(1, 2).flatten(2))
        if weights is not None and average_attn_weights:
            weights = weights.mean(dim=1)
        if not batched:
            return out.squeeze(0), None if weights is None else weights.squeeze(0)
        return (out if self.batch_first else out.transpose(0, 1)), weights

    def _heads(self, inputs: Tensor, part: int) -> Tensor:
        """Queries (0), keys (1) or values (2) of all heads; (N, heads, length, head_dim)."""
        width = self.num_heads * self.head_dim
        if self.in_proj_weight is not None:  # one matrix for all three
            weight = self.in_proj_weight[part * width : (part + 1) * width]
        else:
            weight = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)[part]
        bias = self.in_proj_bias
        own = None if bias is None else bias[part * width : (part + 1) * width]
        projected = F.linear(inputs, weight, own)
        split = projected.reshape(*projected.shape[:-1], self.num_heads, self.head_dim)
        return split.transpose(1, 2)

    def _mask(
        self,
        padding: Tensor | None,
        mask: Tensor | None,
        query: Tensor,
        *,
        is_causal: bool,
    ) -> Tensor | None:
        """Both masks as one that is added to the scores; true in a boolean one means: leave out."""
        del is_causal  # a hint that comes with the mask itself
        added = None if mask is None else _as_addend(mask, query)
        if added is not None and added.dim() == 3:
            added = added.view(-1, self.num_heads, *added.shape[1:])
        if padding is not None:
            hidden = _as_addend(padding, query)[:, None, None, :]
            added = hidden if added is None else added + hidden
        return added

    def _attend(
        self, heads: list[Tensor], mask: Tensor | None, *, need_weights: bool
    ) -> tuple[Tensor, Tensor | None]:
        query, key, value = heads
        dropout = self.dropout if self.training else 0.0
        if not need_weights:
            return F.scaled_dot_product_attention(query, key, value, mask, dropout), None
        scores = query @ key.mT / self.head_dim**0.5
        weights = torch.softmax(scores if mask is None else scores + mask, dim=-1)
        weights = F.dropout(weights, dropout, self.training)
        return weights @ value, weights


def make_slim(module: nn.MultiheadAttention) -> None:
    """Give a module the code that does not take all heads together to be as wide as its inputs.

    Not one with entries of its own beside the keys and values, which that code does not know.
    """
    if module.bias_k is None and not module.add_zero_attn:
        module.__class__ = SlimMultiheadAttention
        # Keeps encoder layers from a fused form of their own that takes the widths for granted.
        module._qkv_same_embed_dim = False


def with_own_attention(model: nn.Module) -> nn.Module:
    """The model on the same tensors, with attention whose code can be read head by head.

    The original spreads a mask of padding over all heads, so that their number seems fixed.
    """
    kinds = {type(module) for module in model.modules()}
    if nn.MultiheadAttention not in kinds:
        return model
    shared: dict[int, Any] = {id(t): t for t in (*model.parameters(), *model.buffers())}
    own = copy_module(model, shared)
    for module in own.modules():
        if type(module) is nn.MultiheadAttention:
            make_slim(module)
    return own


def _as_addend(mask: Tensor, like: Tensor) -> Tensor:
    if mask.dtype is not torch.bool:
        return mask.to(like.dtype)
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill(mask, float("-inf"))
