"""Attention within windows of an image, with fewer heads than its inputs are wide."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_LARGEST_LOG_SCALE = math.log(100.0)  # of the cosine attention of the second Swin
_APART = -100.0  # added to the score of two positions that a shift brought together


@final
class SlimShiftedWindowAttention(nn.Module):
    """What is left of torchvision's window attention after some of its heads were removed.

    The original derives the width of a head from the width of what it reads; here it is what the
    projection gives. All tensors and attributes have the names they had. With `logit_scale` and
    `cpb_mlp` it is the attention of the second Swin transformer. Made by `Plan.apply` and `load`
    from a module of theirs, never by its constructor.
    """

    window_size: list[int]
    shift_size: list[int]
    num_heads: int
    attention_dropout: float
    dropout: float
    qkv: nn.Linear
    proj: nn.Linear
    relative_position_index: Tensor
    relative_position_bias_table: Tensor
    relative_coords_table: Tensor

    def forward(
        self,
        inputs: Tensor,  # (N, H, W, C)
    ) -> Tensor:
        """The attended image, (N, H, W, C)."""
        height, width = inputs.shape[1:3]
        down, right = (-n % w for n, w in zip((height, width), self.window_size, strict=True))
        image = F.pad(inputs, (0, 0, 0, right, 0, down))
        size = (height + down, width + right)
        # A window that sees all there is gains nothing from a shift.
        shift = [
            0 if window >= n else step
            for n, window, step in zip(size, self.window_size, self.shift_size, strict=True)
        ]
        if any(shift):
            image = image.roll((-shift[0], -shift[1]), (1, 2))
        attended = self._attend(_windows(image, self.window_size), self._apart(size, shift, image))
        image = _image(attended, self.window_size, size)
        if any(shift):
            image = image.roll((shift[0], shift[1]), (1, 2))
        return image[:, :height, :width].contiguous()

    def _attend(
        self,
        tokens: Tensor,  # (N, windows, area, C)
        apart: Tensor | None,  # (windows, area, area)
    ) -> Tensor:
        scale = getattr(self, "logit_scale", None)
        bias: Tensor | None = self.qkv.bias
        if scale is not None and bias is not None:  # keys of the second Swin have none
            query, key, value = bias.chunk(3)
            bias = torch.cat([query, torch.zeros_like(key), value])
        made = F.linear(tokens, self.qkv.weight, bias)
        split = made.reshape(*made.shape[:-1], 3, self.num_heads, -1)
        # Each (N, windows, heads, area, d).
        query, key, value = split.permute(3, 0, 1, 4, 2, 5).unbind(0)
        if scale is None:
            scores = query * query.shape[-1] ** -0.5 @ key.mT
        else:
            scores = F.normalize(query, dim=-1) @ F.normalize(key, dim=-1).mT
            scores = scores * scale.clamp(max=_LARGEST_LOG_SCALE).exp()
        scores = scores + self._position_bias()
        if apart is not None:
            scores = scores + apart[:, None]
        weights = F.dropout(scores.softmax(-1), self.attention_dropout, self.training)
        joined = (weights @ value).transpose(2, 3).flatten(3)
        return F.dropout(self.proj(joined), self.dropout, self.training)

    def _position_bias(self) -> Tensor:
        """What two positions add to their score; (heads, area, area)."""
        area = math.prod(self.window_size)
        network: nn.Module | None = getattr(self, "cpb_mlp", None)
        table = self.relative_position_bias_table if network is None else self._table(network)
        bias: Tensor = table[self.relative_position_index].view(area, area, -1).permute(2, 0, 1)
        return bias if network is None else 16 * bias.sigmoid()

    def _table(self, network: nn.Module) -> Tensor:
        """What the second Swin computes from coordinates; (distances, heads)."""
        table: Tensor = network(self.relative_coords_table).view(-1, self.num_heads)
        return table

    def _apart(self, size: tuple[int, int], shift: list[int], like: Tensor) -> Tensor | None:
        """What keeps apart the parts of the image that the shift joined; (windows, area, area)."""
        if not any(shift):
            return None
        rows, columns = (
            (places >= len(places) - window).long() + (places >= len(places) - step).long()
            for places, window, step in zip(
                (torch.arange(n, device=like.device) for n in size),
                self.window_size,
                shift,
                strict=True,
            )
        )
        regions = (3 * rows[:, None] + columns)[None, :, :, None]
        own = _windows(regions, self.window_size)[0, :, :, 0]  # (windows, area)
        return (own[:, :, None] != own[:, None]).to(like.dtype) * _APART


def _windows(
    image: Tensor,  # (N, H, W, C)
    window: Sequence[int],
) -> Tensor:
    """(N, windows, area, C)."""
    n, height, width, channels = image.shape
    rows, columns = height // window[0], width // window[1]
    split = image.reshape(n, rows, window[0], columns, window[1], channels)
    return split.transpose(2, 3).reshape(n, rows * columns, window[0] * window[1], channels)


def _image(
    tokens: Tensor,  # (N, windows, area, C)
    window: Sequence[int],
    size: Sequence[int],
) -> Tensor:
    """The inverse of `_windows`; (N, H, W, C)."""
    n, channels = len(tokens), tokens.shape[-1]
    rows, columns = size[0] // window[0], size[1] // window[1]
    split = tokens.reshape(n, rows, columns, window[0], window[1], channels)
    return split.transpose(2, 3).reshape(n, size[0], size[1], channels)
