"""Self-attention written by hand, in the ways in which people write it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Heads that may share keys and values; projections fused or apart.

    `form` is how projections become heads: "three" (one view with an axis of three), "chunk" (three
    parts, then views) or "apart" (three layers). `core` is the product: "sdpa", "matmul", "bmm" or
    "einsum". `counted` views name the number of heads, others leave it open.
    """

    def __init__(
        self, width: int, *, heads: int, head_dim: int, shared: int, form: str, core: str,
        counted: bool, repeat: str, bias: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        self.num_heads, self.num_key_value_heads = heads, heads // shared
        self.head_dim, self.form, self.core = head_dim, form, core
        self.counted, self.repeat = counted, repeat
        inner, others = heads * head_dim, heads // shared * head_dim
        if form == "apart":
            self.query = nn.Linear(width, inner, bias=bias)
            self.key = nn.Linear(width, others, bias=bias)
            self.value = nn.Linear(width, others, bias=bias)
        else:
            self.fused = nn.Linear(width, 3 * inner, bias=bias)
        self.out = nn.Linear(inner, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self._heads(x)  # (N, heads, T, head_dim)
        out = self._attend(query, self._repeated(key, query), self._repeated(value, query))
        return self.out(out.transpose(1, 2).flatten(2))

    def _heads(self, x: Tensor) -> tuple[Tensor, ...]:
        n, t, _ = x.shape
        if self.form == "three":
            count = self.num_heads if self.counted else -1
            parts = self.fused(x).view(n, t, 3, count, self.head_dim).permute(2, 0, 3, 1, 4)
            return tuple(parts.unbind(0))
        if self.form == "chunk":
            parts = self.fused(x).chunk(3, dim=-1)
        else:
            parts = (self.query(x), self.key(x), self.value(x))
        counts = (self.num_heads, self.num_key_value_heads, self.num_key_value_heads)
        return tuple(
            part.view(n, t, count if self.counted else -1, self.head_dim).transpose(1, 2)
            for part, count in zip(parts, counts, strict=True)
        )

    def _repeated(self, part: Tensor, query: Tensor) -> Tensor:
        times = query.shape[1] // part.shape[1]
        if times == 1:
            return part
        if self.repeat == "interleave":
            return part.repeat_interleave(times, 1)
        n, heads, t, width = part.shape
        return part[:, :, None].expand(n, heads, times, t, width).reshape(n, -1, t, width)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        scale = self.head_dim**-0.5
        if self.core == "sdpa":
            return F.scaled_dot_product_attention(query, key, value)
        if self.core == "einsum":
            scores = torch.einsum("nhtd,nhsd->nhts", query, key) * scale
            return torch.einsum("nhts,nhsd->nhtd", scores.softmax(-1), value)
        if self.core == "bmm":
            flat = [part.flatten(0, 1) for part in (query, key, value)]
            scores = torch.baddbmm(flat[0].new_zeros(1), flat[0], flat[1].mT, alpha=scale)
            return torch.bmm(scores.softmax(-1), flat[2]).view(value.shape[0], -1, *value.shape[2:])
        return ((query * scale) @ key.mT).softmax(-1) @ value
