"""A name for a model's weights."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn

_BYTES = 16


def model_digest(model: nn.Module) -> str:
    """32 hexadecimal digits that name the state dict: names, shapes, types and bytes.

    The same on every device and for every order of the entries. The class of the model and its
    code are not part of it; neither are entries that are no tensors, except for name and type.
    """
    digest = hashlib.blake2b(digest_size=_BYTES)
    for name, value in sorted(model.state_dict().items()):
        if not isinstance(value, Tensor):
            digest.update(f"{name}\0{type(value).__qualname__}\0".encode())
            continue
        # the header fixes how many bytes follow, so two states cannot run together
        digest.update(f"{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
        plain = value.detach().cpu()
        if plain.layout is not torch.strided:
            plain = plain.to_dense()
        # through uint8, because NumPy has no bfloat16
        digest.update(plain.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
